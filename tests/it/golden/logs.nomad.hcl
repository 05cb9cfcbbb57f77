# meta.terreau: 26 zeros stand for the app's identity, given at its first deploy
# artifact: zeros stand for the app's capability and for the archive's SHA-256, known after a build
job "talker" {
  namespace = "default"
  type = "service"
  priority = 50
  datacenters = [
    "dc1"
  ]

  meta {
    terreau = "00000000000000000000000000"
  }

  group "worker" {
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

    ephemeral_disk {
      size = 1300
    }

    task "worker" {
      driver = "exec"
      kill_signal = "SIGTERM"
      kill_timeout = "10s"

      config {
        command = "/bin/sh"
        args = [
          "-c",
          "cd \"$NOMAD_TASK_DIR/app\" && exec \"$@\"",
          "sh",
          "./talk"
        ]
      }

      artifact {
        source = "http://garage-web.service.prod.consul:3902/a/0000000000000000000000000000000000000000000000000000000000000000/0000000000000000000000000000000000000000000000000000000000000000.tar.zst"
        destination = "local/app"

        options {
          checksum = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
        }
      }

      logs {
        max_files = 20
        max_file_size = 50
      }

      resources {
        cpu = 20
        memory = 32
      }
    }
  }
}
