# meta.terreau: 26 zeros stand for the app's identity, given at its first deploy
# artifact: zeros stand for the app's capability and for the archive's SHA-256, known after a build
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
        PORT = "${NOMAD_PORT_http_port}"
        PORT_HTTP = "${NOMAD_PORT_http_port}"
      }

      artifact {
        source = "http://garage-web.service.prod.consul:3902/a/0000000000000000000000000000000000000000000000000000000000000000/0000000000000000000000000000000000000000000000000000000000000000.tar.zst"
        destination = "local/app"

        options {
          checksum = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
        }
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
