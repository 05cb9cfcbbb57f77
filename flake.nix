{
  description = "Terreau: a platform-as-a-service agent for small self-hosted clusters";

  # Rust 1.95 or later is needed.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      each = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = each (pkgs: {
        # For clusters.
        default = pkgs.callPackage ./nix/package.nix { };
        # With `terreau dev`.
        full = pkgs.callPackage ./nix/package.nix { sandbox = true; };
      });

      nixosModules.default = ./nix/module.nix;

      devShells = each (pkgs: {
        default = pkgs.mkShell {
          packages = with pkgs; [
            cargo
            clippy
            go
            pkg-config
            python3
            rustc
            rustfmt
            sqlite
          ];
        };
      });
    };
}
