# meta.terreau: 26 zeros stand for the app's identity, given at its first deploy
# artifact: zeros stand for the app's capability and for the archive's SHA-256, known after a build
# constraint: "any-node" stands for the node that will hold the volumes
job "mail" {
  namespace = "default"
  type = "service"
  priority = 50
  datacenters = [
    "dc1"
  ]

  meta {
    terreau = "00000000000000000000000000"
  }

  group "smtp" {
    count = 1

    constraint {
      attribute = "${node.unique.name}"
      value = "any-node"
    }

    update {
      max_parallel = 1
      canary = 0
      min_healthy_time = "1s"
      healthy_deadline = "5m"
      progress_deadline = "10m"
      auto_revert = true
      auto_promote = false
    }

    restart {
      attempts = 10
      interval = "5m"
      delay = "15s"
      mode = "delay"
    }

    network {
      port "smtp_port" {
        static = 25
      }

      port "admin_ui_port" {      }
    }

    task "make_volumes" {
      driver = "raw_exec"

      lifecycle {
        hook = "prestart"
        sidecar = false
      }

      config {
        command = "/bin/mkdir"
        args = [
          "-p",
          "--",
          "/mnt/storage/mail/spool"
        ]
      }

      resources {
        cpu = 10
        memory = 16
      }
    }

    task "smtp" {
      driver = "raw_exec"
      kill_signal = "SIGTERM"
      kill_timeout = "10s"

      config {
        command = "/bin/sh"
        args = [
          "-c",
          "cd \"$NOMAD_TASK_DIR/app\" && exec \"$@\"",
          "sh",
          "./smtpd"
        ]
      }

      env {
        PORT = "${NOMAD_PORT_smtp_port}"
        PORT_ADMIN_UI = "${NOMAD_PORT_admin_ui_port}"
        PORT_SMTP = "${NOMAD_PORT_smtp_port}"
        SPOOL = "/mnt/storage/mail/spool/in"
        VOLUME_SPOOL = "/mnt/storage/mail/spool"
      }

      artifact {
        source = "http://garage-web.service.prod.consul:3902/a/0000000000000000000000000000000000000000000000000000000000000000/0000000000000000000000000000000000000000000000000000000000000000.tar.zst"
        destination = "local/app"

        options {
          checksum = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
        }
      }

      service {
        name = "mail-smtp"
        provider = "consul"
        port = "smtp_port"
        address_mode = "host"

        check {
          name = "tcp"
          type = "tcp"
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

      service {
        name = "mail-smtp-admin-ui"
        provider = "consul"
        port = "admin_ui_port"
        address_mode = "host"
      }

      resources {
        cpu = 20
        memory = 32
      }
    }
  }
}
