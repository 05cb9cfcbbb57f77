# A test app: what it does is said by PROBE_ variables, see src/main.rs. `make` puts the program into dist/.
project "probe" {
  build "archive" {
    dir = "dist"
  }

  process "web" {
    command = ["./probe"]
    memory  = "64 MiB"

    port "http" {}
    check "http" {
      path = "/healthz"
    }
    route "probe.example.org" {}

    env {
      PORT               = port.http
      PROBE_VERSION      = "1"
      PROBE_LOG_REQUESTS = "1"
    }
  }
}
