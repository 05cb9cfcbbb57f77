# The program. `sandbox` adds what `terreau dev` embeds (Garage, a directory); packages for production leave it out.
{
  lib,
  rustPlatform,
  stdenv,
  installShellFiles,
  pkg-config,
  sqlite,
  sandbox ? false,
}:

let
  manifest = (lib.importTOML ../Cargo.toml).package;
in
rustPlatform.buildRustPackage {
  pname = manifest.name;
  inherit (manifest) version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../src
      ../policies
      ../tests
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;

  buildNoDefaultFeatures = true;
  buildFeatures = lib.optional sandbox "sandbox";

  # Garage's database; without the sandbox nothing outside of the crates is linked.
  nativeBuildInputs = [ installShellFiles ] ++ lib.optional sandbox pkg-config;
  buildInputs = lib.optional sandbox sqlite;

  # The tests start real engines, and open sockets: `scripts/test`.
  doCheck = false;

  # Of the program itself, where it runs here.
  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/terreau man $TMPDIR/man1
    installManPage $TMPDIR/man1/*
    for shell in bash fish zsh; do $out/bin/terreau completions $shell > $TMPDIR/terreau.$shell; done
    installShellCompletion $TMPDIR/terreau.{bash,fish,zsh}
  '';

  meta = {
    inherit (manifest) description;
    license = lib.licenses.agpl3Plus;
    mainProgram = "terreau";
    platforms = lib.platforms.linux;
  };
}
