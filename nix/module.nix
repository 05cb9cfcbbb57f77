# The agent as a service of a NixOS machine.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.terreau;
  toml = pkgs.formats.toml { };
  file = toml.generate "terreau-agent.toml" cfg.settings;
in
{
  options.services.terreau = {
    enable = lib.mkEnableOption "the agent of Terreau";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The program.";
    };

    settings = lib.mkOption {
      inherit (toml) type;
      default = { };
      example = lib.literalExpression ''
        {
          cluster = "prod";
          sites = [ "neptune" ];
          directory = {
            url = "ldap://bottin.service.prod.consul:389";
            base = "dc=example,dc=org";
            password_file = "/run/secrets/directory-password";
            plain_ok = true; # inside WireGuard
          };
        }
      '';
      description = ''
        The agent's configuration: every setting stands in `docs/agent.example.toml`. It ends in the Nix store, which
        everybody can read: secrets are named by their files (`token_file`, `password_file`, `key_file`).
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];

    systemd.services.terreau = {
      description = "Agent of Terreau";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [
        "network-online.target"
        "consul.service"
        "nomad.service"
      ];

      serviceConfig = {
        ExecStart = "${lib.getExe cfg.package} agent --config ${file}";
        # It reads the files of secrets itself, so they must be readable by this user.
        User = "terreau";
        Group = "terreau";
        # Killed or crashed, its operations are taken over after some 20 s, by itself or by another agent.
        Restart = "always";
        RestartSec = 2;
        # It keeps nothing on the machine.
        CapabilityBoundingSet = "";
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateTmp = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHome = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectSystem = "strict";
        RestrictAddressFamilies = [
          "AF_INET"
          "AF_INET6"
          "AF_UNIX"
        ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
      };
    };

    users.users.terreau = {
      isSystemUser = true;
      group = "terreau";
    };
    users.groups.terreau = { };
  };
}
