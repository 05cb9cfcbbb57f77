# meta.terreau: 26 zeros stand for the app's identity, given at its first deploy
# artifact: zeros stand for the app's capability and for the archive's SHA-256, known after a build
# secrets: version 1 stands for the current version of each
# uses.media.access_key_id: GK and 24 zeros stand for the key's id
job "carnet" {
  namespace = "default"
  type = "service"
  priority = 50
  datacenters = [
    "dc1"
  ]

  meta {
    terreau = "00000000000000000000000000"
  }

  group "web" {
    count = 1

    update {
      max_parallel = 1
      canary = 1
      min_healthy_time = "1s"
      healthy_deadline = "5m"
      progress_deadline = "10m"
      auto_revert = true
      auto_promote = true
    }

    restart {
      attempts = 10
      interval = "5m"
      delay = "15s"
      mode = "delay"
    }

    network {
      port "http_port" {      }
    }

    task "web" {
      driver = "exec"
      kill_signal = "SIGTERM"
      kill_timeout = "10s"
      shutdown_delay = "3s"

      config {
        command = "/bin/sh"
        args = [
          "-c",
          "cd \"$NOMAD_TASK_DIR/app\" && exec \"$@\"",
          "sh",
          "./server",
          "--verbose"
        ]
      }

      env {
        LDAP_DN = "cn=carnet,ou=services,ou=users,dc=example,dc=org"
        PORT = "${NOMAD_PORT_http_port}"
        PORT_HTTP = "${NOMAD_PORT_http_port}"
        S3_BUCKET = "carnet-media"
        S3_KEY = "GK000000000000000000000000"
      }

      artifact {
        source = "http://garage-web.service.prod.consul:3902/a/0000000000000000000000000000000000000000000000000000000000000000/0000000000000000000000000000000000000000000000000000000000000000.tar.zst"
        destination = "local/app"

        options {
          checksum = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
        }
      }

      template {
        destination = "secrets/env"
        perms = "0600"
        env = true
        change_mode = "noop"
        data = <<TERREAU
LDAP_PASSWORD={{ key "secrets/carnet/.v/ldap_password/1" | toJSON }}
S3_SECRET={{ key "secrets/carnet/.v/media_secret_access_key/1" | toJSON }}
TERREAU
      }

      template {
        destination = "secrets/services.env"
        perms = "0600"
        env = true
        change_mode = "restart"
        splay = "5s"
        data = <<TERREAU
{{ $v0 := "" }}{{ range $i, $s := service "bottin" }}{{ if eq $i 0 }}{{ $v0 = $s.Address }}{{ end }}{{ end }}{{ $v1 := "" }}{{ range $i, $s := service "bottin" }}{{ if eq $i 0 }}{{ $v1 = printf "%d" $s.Port }}{{ end }}{{ end }}{{ if and $v0 $v1 }}LDAP_HOST={{ printf "%s%s%s" $v0 " " $v1 | toJSON }}{{ end }}
{{ $v0 := "" }}{{ range $i, $s := service "bottin" }}{{ if eq $i 0 }}{{ if regexMatch ":" $s.Address }}{{ $v0 = printf "[%s]:%d" $s.Address $s.Port }}{{ else }}{{ $v0 = printf "%s:%d" $s.Address $s.Port }}{{ end }}{{ end }}{{ end }}{{ if $v0 }}LDAP_URL={{ printf "%s%s" "ldap://" $v0 | toJSON }}{{ end }}
{{ $v0 := "" }}{{ range $i, $s := service "peer" }}{{ if eq $i 0 }}{{ if regexMatch ":" $s.Address }}{{ $v0 = printf "[%s]:%d" $s.Address $s.Port }}{{ else }}{{ $v0 = printf "%s:%d" $s.Address $s.Port }}{{ end }}{{ end }}{{ end }}{{ if $v0 }}PEER={{ $v0 | toJSON }}{{ end }}
{{ $v0 := "" }}{{ range $i, $s := service "garage-api" }}{{ if eq $i 0 }}{{ if regexMatch ":" $s.Address }}{{ $v0 = printf "[%s]:%d" $s.Address $s.Port }}{{ else }}{{ $v0 = printf "%s:%d" $s.Address $s.Port }}{{ end }}{{ end }}{{ end }}{{ if $v0 }}S3_ENDPOINT={{ printf "%s%s" "http://" $v0 | toJSON }}{{ end }}
TERREAU
      }

      service {
        name = "carnet"
        provider = "consul"
        port = "http_port"
        address_mode = "host"
        tags = [
          "tricot carnet.example.org",
          "d53-cname carnet.example.org"
        ]

        check {
          name = "http"
          type = "http"
          path = "/healthz"
          interval = "2s"
          timeout = "5s"
          failures_before_critical = 3

          check_restart {
            limit = 90
            grace = "90s"
            ignore_warnings = false
          }
        }
      }

      resources {
        cpu = 20
        memory = 32
      }
    }
  }
}
