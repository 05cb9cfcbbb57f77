# meta.terreau: 26 zeros stand for the app's identity, given at its first deploy
# artifact: zeros stand for the app's capability and for the archive's SHA-256, known after a build
# secrets: version 1 stands for the current version of each
# constraint: "any-node" stands for the node that will hold the volumes
job "nasty" {
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
      port "http_port" {      }
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
          "/mnt/storage/nasty/data"
        ]
      }

      resources {
        cpu = 10
        memory = 16
      }
    }

    task "web" {
      driver = "raw_exec"
      kill_signal = "SIGTERM"
      kill_timeout = "10s"

      config {
        command = "/bin/sh"
        args = [
          "-c",
          "cd \"$NOMAD_TASK_DIR/app\" && exec \"$@\"",
          "sh",
          "./server",
          "--port=$${\"$\"}${NOMAD_PORT_http_port}",
          " a\n\"b'\\ $HOME $$$${X} $$${NOMAD_ALLOC_ID} $$${meta.site} %%%{if} %%%%{x}\t<~ ~> {{ key \"x\" }} }} é é 🌱 \u000b<&> #c\n\n "
        ]
      }

      env {
        EMPTY = ""
        MY_PORT = "p${NOMAD_PORT_http_port}"
        PLAIN = "a b\n\"c\" $d é <&>"
        PORT = "${NOMAD_PORT_http_port}"
        PORT_HTTP = "${NOMAD_PORT_http_port}"
        VOLUME_DATA = "/mnt/storage/nasty/data"
        _FILE = "${NOMAD_TASK_DIR}/etc/app.conf"
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
MIXED={{ printf "%s%s%s%s" " a\n\"b'\\ $HOME $$\x7bX\x7d $\x7bNOMAD_ALLOC_ID\x7d $\x7bmeta.site\x7d %\x7bif\x7d %%\x7bx\x7d\t<~ ~> \x7b\x7b key \"x\" \x7d\x7d \x7d\x7d \u00e9 e\u0301 \U0001f331 \u000b<&>\u2028#c\n\n " (key "secrets/nasty/.v/pw/1") "@h/" (env "meta.site") | toJSON }}
NASTY={{ " a\n\"b'\\ $HOME $$\x7bX\x7d $\x7bNOMAD_ALLOC_ID\x7d $\x7bmeta.site\x7d %\x7bif\x7d %%\x7bx\x7d\t<~ ~> \x7b\x7b key \"x\" \x7d\x7d \x7d\x7d \u00e9 e\u0301 \U0001f331 \u000b<&>\u2028#c\n\n " | toJSON }}
SECRET={{ key "secrets/nasty/.v/pw/1" | toJSON }}
SECRET_FILE={{ printf "%s%s%s" "x$" (env "NOMAD_SECRETS_DIR") "/key.pem" | toJSON }}
TERREAU
      }

      template {
        destination = "local/etc/app.conf"
        perms = "0644"
        change_mode = "noop"
        left_delimiter = "<~8dfed9062eca57db"
        right_delimiter = "bd75ace2609defd8~<"
        data = "<~8dfed9062eca57db \" a\\n\\\"b'\\\\ $HOME $$\\x7bX\\x7d $\\x7bNOMAD_ALLOC_ID\\x7d $\\x7bmeta.site\\x7d %\\x7bif\\x7d %%\\x7bx\\x7d\\t<~ ~> \\x7b\\x7b key \\\"x\\\" \\x7d\\x7d \\x7d\\x7d \\u00e9 e\\u0301 \\U0001f331 \\u000b<&>\\u2028#c\\n\\n \" bd75ace2609defd8~<<~8dfed9062eca57db env \"meta.site\" bd75ace2609defd8~<\n<~"
      }

      template {
        destination = "local/plain.conf"
        perms = "0640"
        change_mode = "noop"
        left_delimiter = "<~61d3dfea0cd86707"
        right_delimiter = "70768dc0aefd3d16~<"
        data = <<TERREAU
a = "b"
{{ key "x" }}
TERREAU
      }

      template {
        destination = "secrets/key.pem"
        perms = "0600"
        change_mode = "noop"
        left_delimiter = "<~d1e1fc681a34c23b"
        right_delimiter = "b32c43a186cf1e1d~<"
        data = "<<~d1e1fc681a34c23b key \"secrets/nasty/.v/pw/1\" b32c43a186cf1e1d~<<~d1e1fc681a34c23b \" a\\n\\\"b'\\\\ $HOME $$\\x7bX\\x7d $\\x7bNOMAD_ALLOC_ID\\x7d $\\x7bmeta.site\\x7d %\\x7bif\\x7d %%\\x7bx\\x7d\\t<~ ~> \\x7b\\x7b key \\\"x\\\" \\x7d\\x7d \\x7d\\x7d \\u00e9 e\\u0301 \\U0001f331 \\u000b<&>\\u2028#c\\n\\n \" b32c43a186cf1e1d~<"
      }

      template {
        destination = "local/app/inside.txt"
        perms = "0644"
        change_mode = "noop"
        left_delimiter = "<~91815bec357c6ce2"
        right_delimiter = "2ec6c753ceb51819~<"
        data = <<TERREAU
inside the archive's folder
TERREAU
      }

      service {
        name = "nasty-web"
        provider = "consul"
        port = "http_port"
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

      resources {
        cpu = 20
        memory = 32
      }
    }
  }
}
