# Every setting at least once.
project "carnet" {
  owners = ["alice", "group:devs"]

  build "archive" {
    dir = "./dist/"
  }

  process "web" {
    command      = ["./server", "--port", port.http, "--data=${file["app.conf"]}"]
    instances    = 2
    cpu          = 200
    memory       = "256 MiB"
    stop_timeout = "20s"

    port "http" {}
    port "admin" {}

    check "http" {
      path     = "/healthz"
      port     = "http"
      interval = "5s"
      timeout  = "3s"
      grace    = "1m"
    }
    check "tcp" {
      port = "admin"
    }

    route "carnet.example.org" {}
    route "api.example.org" {
      path     = "/api"
      priority = 200
      port     = "admin"
      headers = {
        "Strict-Transport-Security" = "max-age=63072000"
        Content-Security-Policy     = "default-src 'self'; img-src *"
      }
    }

    env {
      WORKERS = 4
      DEBUG   = false
      SESSION = secret.session_key
      STORE   = "http://${service.carnet-store}/"
      SITE    = meta.site
    }

    restart {
      attempts = 3
      interval = "10m"
      delay    = "10s"
      mode     = "fail"
    }

    update {
      canary           = 1
      promote          = "manual"
      max_parallel     = 1
      auto_revert      = true
      min_healthy_time = "1s500ms"
      healthy_deadline = "2m"
    }

    logs {
      max_files     = 20
      max_file_size = "50 MiB"
    }
  }

  process "store" {
    driver = "docker"

    config {
      image           = "docker.io/library/radicale:3.5.4"
      args            = ["--config", "/app.conf"]
      ports           = ["dav"]
      volumes         = ["local/app.conf:/app.conf:ro"]
      readonly_rootfs = true
      network_mode    = "host"
      labels          = { team = "devs" }
    }

    port "dav" {
      static = 5232
    }

    volume "data" {
      path = "/data"
      node = "piranha"
    }

    env = {
      DATA = volume.data
    }
  }

  env {
    BASE_URL = "https://${process.web.host}/"
    GREETING = <<EOT
several
lines
EOT
  }

  secret "session_key" {
    type   = "generated"
    length = 64
  }
  secret "smtp.password" {
    type        = "user"
    description = "Password of the mail account"
    example     = "correct horse"
  }

  file "app.conf" {
    mode      = "0640"
    processes = ["web", "store"]
    content   = <<-EOT
      [auth]
      bind = ${uses.ldap.dn}
      smtp = ${secret["smtp.password"]}
      bucket = ${uses.media.bucket}
      # $${literal} %%{too}
    EOT
  }

  uses "ldap" {}
  uses "bucket" "media" {
    max_size    = "50 MiB"
    max_objects = 10000
  }
}
