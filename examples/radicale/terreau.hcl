# Radicale, calendars and contacts (CalDAV and CardDAV): a program written by others, as it comes from PyPI.
# People log in with their directory account; `./build` puts the program into app/.
project "radicale" {
  build "archive" {
    dir = "app"
  }

  process "web" {
    command = ["python3", "-m", "radicale", "--config", file["radicale.conf"]]

    port "http" {}
    check "http" {
      path = "/.web/" # answers without login
    }
    route "radicale.example.org" {}

    # Everything that people write. It stays where it is when a new release comes.
    volume "data" {
      path = "/data"
    }

    env {
      PYTHONPATH              = "lib" # in the archive, where the process starts
      PYTHONDONTWRITEBYTECODE = "1"
    }
  }

  # An account of its own, to find people by their login.
  uses "ldap" {}

  # Holds a password, so it is written under secrets/ of this process alone.
  file "radicale.conf" {
    content = <<-EOT
      [server]
      hosts = 0.0.0.0:${port.http}

      [auth]
      type = ldap
      ldap_uri = ${uses.ldap.url}
      ldap_base = ou=users,${uses.ldap.base}
      ldap_reader_dn = ${uses.ldap.dn}
      ldap_secret = ${uses.ldap.password}
      ldap_filter = (&(objectclass=person)(cn={0}))

      [rights]
      type = owner_only

      [storage]
      filesystem_folder = ${volume.data}/collections

      [logging]
      level = info
    EOT
  }
}
