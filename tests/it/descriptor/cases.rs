//! Descriptors that are wrong, each in its own way; the exact answers are the snapshots of the same name.

/// A process around some lines.
fn web(lines: &str) -> String {
    project(&format!(
        "  process \"web\" {{\n    command = [\"./server\"]\n    port \"http\" {{}}\n{lines}\n  }}"
    ))
}

/// A process without a command of its own around some lines.
fn bare(lines: &str) -> String {
    project(&format!("  process \"web\" {{\n{lines}\n  }}"))
}

/// A project around some lines.
fn project(lines: &str) -> String {
    format!("project \"carnet\" {{\n  build \"archive\" {{}}\n{lines}\n}}\n")
}

/// A project that is fine but for some lines in it.
fn also(lines: &str) -> String {
    project(&format!("  process \"web\" {{\n    command = [\"./server\"]\n  }}\n{lines}"))
}

/// A static site around some lines.
fn site(lines: &str) -> String {
    format!("project \"jardin\" {{\n  build \"static\" {{}}\n{lines}\n}}\n")
}

/// Wrong ones.
pub(super) fn all() -> Vec<(&'static str, String)> {
    let long = "x".repeat(33 * 1024);
    let quotes = "\\\"".repeat(31 * 1024);
    let cases: Vec<(&'static str, String)> = vec![
        // The file
        ("file_empty", String::new()),
        ("file_compose", "version: \"3\"\nservices:\n  web:\n    image: nginx\n".to_owned()),
        ("file_nomad_job", "job \"web\" {\n  group \"web\" {}\n}\n".to_owned()),
        ("file_terraform", "variable \"x\" {}\nresource \"a\" \"b\" {}\n".to_owned()),
        ("file_two_projects", format!("{}{}", also(""), also(""))),
        ("file_unclosed", "project \"carnet\" {\n  build \"archive\" {}\n".to_owned()),
        ("file_unclosed_quote", also("  env {\n    A = \"x\n  }")),
        ("file_unclosed_heredoc", also("  file \"a\" {\n    content = <<EOT\nhello\n  }")),
        ("file_two_settings_on_a_line", web("    restart { attempts = 1 delay = \"1s\" }")),
        ("file_colon", web("    cpu: 100")),
        ("file_single_quotes", web("    driver = 'docker'")),
        ("file_setting_twice", web("    cpu = 100\n    cpu = 200")),
        ("file_key_twice_in_an_object", web("    env = { A = 1, A = 2 }")),
        ("file_bad_escape", also("  env {\n    A = \"\\q\"\n  }")),
        // The project
        ("project_without_name", "project {\n  build \"static\" {}\n  route \"a.example.org\" {}\n}\n".to_owned()),
        ("project_name_reserved", site("  route \"a.example.org\" {}").replace("\"jardin\"", "\"consul\"")),
        ("project_name_of_terreau", site("  route \"a.example.org\" {}").replace("\"jardin\"", "\"terreau-x\"")),
        ("project_name_upper_case", site("  route \"a.example.org\" {}").replace("\"jardin\"", "\"Mon Jardin\"")),
        ("project_name_too_long", site("  route \"a.example.org\" {}").replace("jardin", &"j".repeat(27))),
        ("project_two_labels", site("  route \"a.example.org\" {}").replace("\"jardin\"", "\"a\" \"b\"")),
        ("project_nothing_to_run", project("")),
        ("project_owners", also("  owners = [\"Alice\", \"group:devs\", \"group:devs\", \"role:x\", 3]")),
        ("project_owners_text", also("  owners = \"alice\"")),
        ("project_knows_from_elsewhere", also("  image = \"nginx\"\n  domain = \"x.org\"\n  datacenters = [\"dc1\"]\n  depends_on = []\n  service {}\n  database \"x\" {}\n  ports = [80]")),
        ("project_not_built_yet", also("  cron \"nightly\" {}\n  release {}\n  environment \"preproduction\" {}\n  external \"x\" {}")),
        ("project_raw_parts", also("  nomad {}\n  template {}\n  artifact {}")),
        ("project_process_settings_outside", also("  command = [\"x\"]\n  volume \"data\" {}\n  memory = 64")),
        ("project_misspelt", also("  secert \"x\" {}\n  prcoess \"y\" {}\n  onwers = []")),
        // build
        ("build_not_yet", project("  process \"web\" {\n    command = [\"x\"]\n  }").replace("\"archive\"", "\"nix\"")),
        ("build_image", project("  process \"web\" {\n    command = [\"x\"]\n  }").replace("\"archive\"", "\"image\"")),
        ("build_unknown", project("  process \"web\" {\n    command = [\"x\"]\n  }").replace("\"archive\"", "\"archiv\"")),
        ("build_twice", also("  build \"static\" {}")),
        ("build_paths", site("  route \"a.example.org\" {}").replace("{}\n  route", "{\n    dir = \"/etc\"\n    index = \"../index.html\"\n    error = 404\n  }\n  route")),
        // processes
        ("process_without_command", bare("    cpu = 100")),
        ("process_command_line", bare("    command = \"./server --port 80\"")),
        ("process_command_shell", bare("    command = \"cat x | sort > y\"")),
        ("process_command_empty", bare("    command = []")),
        ("process_command_empty_program", bare("    command = [\"\", \"x\"]")),
        ("process_command_type", bare("    command = { a = 1 }")),
        ("process_command_secret", also("  secret \"k\" { type = \"generated\" }\n  uses \"ldap\" {}\n  process \"b\" {\n    command = [\"x\", secret.k, \"--p=${uses.ldap.password}\", service.web]\n  }")),
        ("process_twice", also("  process \"web\" {\n    command = [\"x\"]\n  }")),
        ("process_name", project("  process \"Web_1\" {\n    command = [\"x\"]\n  }")),
        ("process_numbers", web("    instances = -1\n    cpu = 1.5\n    memory = \"lots\"\n    stop_timeout = 10")),
        ("process_numbers_as_text", web("    instances = \"2\"\n    cpu = \"100\"\n    memory = \"512 MB\"")),
        ("process_memory_small", web("    memory = \"4 MiB\"")),
        ("process_memory_odd", web("    memory = \"10000001 B\"")),
        ("process_durations", web("    stop_timeout = \"10 seconds\"\n    check \"tcp\" {\n      interval = \"1ms\"\n      timeout  = \"2d\"\n    }")),
        ("process_knows_from_elsewhere", web("    image = \"nginx\"\n    replicas = 3\n    environment = { A = \"b\" }\n    healthcheck = {}\n    resources {}\n    ports = [80]\n    entrypoint = []\n    kill_timeout = \"5s\"")),
        ("process_logs", web("    logs {\n      max_files = 0\n      max_file_size = \"500 KiB\"\n      size = 3\n    }\n    logging {}")),
        ("process_not_built_yet", web("    sleep {}\n    constraint {}\n    memory_max = 512\n    stop_signal = \"SIGINT\"")),
        ("process_blocks_as_settings", web("    check = { path = \"/\" }\n    volume = \"/data\"\n    command {}\n    instances {}")),
        // ports
        ("port_static", web("    port \"a\" { static = 0 }\n    port \"b\" { static = 70000 }\n    port \"c\" { static = 4646 }\n    port \"d\" { static = \"8080\" }")),
        ("port_static_twice", web("    port \"a\" { static = 5232 }\n  }\n  process \"b\" {\n    command = [\"x\"]\n    port \"a\" { static = 5232 }")),
        ("port_twice", web("    port \"http\" {}")),
        ("port_settings", web("    port \"b\" { to = 80 }\n    port \"c\" { number = 80 }")),
        ("port_without_name", web("    port {}")),
        // checks
        ("check_without_port", bare("    command = [\"x\"]\n    check \"http\" {}")),
        ("check_unknown_port", web("    check \"http\" { port = \"htp\" }\n    check \"tcp\" { port = 80 }")),
        ("check_kinds", web("    check \"script\" {}\n    check \"htpp\" {}\n    check {}")),
        ("check_path", web("    check \"http\" { path = \"healthz\" }\n    check \"tcp\" { path = \"/\" }")),
        ("check_twice", web("    check \"tcp\" {}\n    check \"tcp\" {}")),
        // routes
        ("route_without_port", bare("    command = [\"x\"]\n    route \"a.example.org\" {}")),
        ("route_hosts", web("    route \"*\" {}\n    route \"*.example.org\" {}\n    route \"https://A.Example.org/x\" {}\n    route \"a.example.org:8080\" {}\n    route \"jardin.été.fr\" {}\n    route \"web.service.prod.consul\" {}\n    route \"10.0.0.1\" {}\n    route \"a b\" {}")),
        ("route_twice", web("    route \"a.example.org\" {}\n    route \"a.example.org\" {}\n    route \"a.example.org\" { path = \"/x\" }\n    route \"a.example.org\" { path = \"/x\" }")),
        ("route_settings", web("    route \"a.example.org\" {\n      path     = \"x y\"\n      priority = \"high\"\n      port     = \"admin\"\n      tls      = true\n      headers = {\n        \"X Y\" = \"a\"\n        X-A = \"a\\nb\"\n        x-a = \"c\"\n      }\n    }")),
        ("route_redirects", web("    route \"a.example.org\" {\n      redirect \"a.example.org\" {}\n      redirect \"b.example.org\" {\n        path = \"/x?y\"\n        code = 300\n        status = 301\n      }\n      redirect \"c d\" { code = \"301\" }\n      redirects = [\"e.example.org\"]\n    }\n    redirect \"f.example.org\" {}")),
        ("route_in_the_project", also("  route \"a.example.org\" {}")),
        // volumes
        ("volume_paths", web("    volume \"a\" { path = \"data\" }\n    volume \"b\" { path = \"/data/../etc\" }\n    volume \"c\" { path = \"/proc/x\" }\n    volume \"d\" {}\n    volume \"e\" { path = \"/\" }\n    volume \"f\" { path = \"/f\" }\n    volume \"g\" { path = \"/f/\" }")),
        ("volume_nodes", web("    volume \"a\" {\n      path = \"/a\"\n      node = \"caribou\"\n    }\n    volume \"b\" {\n      path = \"/b\"\n      node = \"piranha\"\n    }\n    volume \"c\" {\n      path = \"/c\"\n      node = \"a b\"\n    }")),
        ("volume_names", web("    volume \"Data\" { path = \"/a\" }\n    volume \"b\" { path = \"/b\" }\n    volume \"b\" { path = \"/c\" }\n    volume \"h\" { host_path = \"/srv\" }")),
        // restart, update
        ("restart_does_not_fit", web("    restart {\n      attempts = 10\n      interval = \"1m\"\n      delay    = \"15s\"\n      mode     = \"retry\"\n    }")),
        ("update_canary_with_volume", web("    volume \"data\" { path = \"/data\" }\n    update {\n      canary           = 1\n      min_healthy_time = \"2m\"\n      healthy_deadline = \"1m\"\n      auto_promote     = true\n    }")),
        ("update_promote", web("    update {\n      canary  = 0\n      promote = \"manual\"\n    }\n  }\n  process \"two\" {\n    command = [\"x\"]\n    update { promote = \"manuel\" }\n    volume \"data\" { path = \"/data\" }")),
        ("update_twice", web("    update {}\n    update \"x\" {}")),
        // driver, config
        ("driver_unknown", web("    driver = \"qemu\"")),
        ("driver_misspelt", web("    driver = \"dokcer\"")),
        ("driver_config_alone", web("    config {\n      image = \"x:1\"\n    }")),
        ("driver_docker_without_image", bare("    driver = \"docker\"")),
        ("driver_docker_raw_keys", bare("    driver = \"docker\"\n    config {\n      image      = \"x:1\"\n      privileged = true\n      cap_add    = [\"SYS_ADMIN\"]\n      devices    = []\n      pid_mode   = \"host\"\n      auth { username = \"x\" }\n    }")),
        ("driver_docker_values", bare("    driver = \"docker\"\n    port \"http\" {}\n    config {\n      image           = \"no such image\"\n      args            = \"x\"\n      ports           = [\"web\"]\n      readonly_rootfs = \"true\"\n      network_mode    = \"container:other\"\n      work_dir        = \"x\"\n      labels          = [\"a\"]\n      hostname        = \"$${attr.unique.hostname}\"\n    }")),
        ("driver_docker_volumes", bare("    driver = \"docker\"\n    config {\n      image   = \"x:1\"\n      volumes = [\"/etc:/etc\", \"local/../../x:/x\", \"localx:/x\", \"local/x\", \"local/x:/x:z\", \"secrets/x:y\"]\n    }")),
        ("driver_command_twice", bare("    driver  = \"docker\"\n    command = [\"x\"]\n    config {\n      image = \"x:1\"\n      args  = [\"y\"]\n    }")),
        ("driver_exec_config", web("    driver = \"raw_exec\"\n    config {\n      cgroup_v2_override = \"/\"\n    }")),
        // env
        ("env_names", also("  env = {\n    \"A B\" = 1\n    \"1A\" = 2\n    NOMAD_TOKEN = \"x\"\n    nomad_addr = \"x\"\n  }")),
        ("env_types", also("  env {\n    A = [1]\n    B = null\n    C = { x = 1 }\n    D = x\n    inner {}\n  }")),
        ("env_list", also("  env = [\"A=1\"]")),
        ("env_twice", also("  env {\n    A = 1\n  }\n  env = { B = 1 }\n  env \"x\" {}")),
        ("env_nul", also("  env {\n    A = \"a\\u0000b\"\n  }")),
        ("env_too_long", also(&format!("  env {{\n    A = \"{long}\"\n    B = \"{quotes}\"\n  }}"))),
        ("env_volume_name", web("    volume \"my-data\" { path = \"/data\" }\n    env {\n      VOLUME_MY_DATA = \"x\"\n    }")),
        // secrets
        ("secret_without_type", also("  secret \"a\" {}\n  secret \"b\" { value = \"hunter2\" }\n  secret \"c\" {\n    generated {}\n  }")),
        ("secret_types", also("  secret \"a\" { type = \"command\" }\n  secret \"b\" { type = \"genrated\" }\n  secret \"c\" { type = 3 }")),
        ("secret_settings", also("  secret \"a\" {\n    type   = \"generated\"\n    length = 8\n    rotate = true\n  }\n  secret \"b\" {\n    type   = \"user\"\n    length = 32\n  }")),
        ("secret_names", also("  secret \"A\" { type = \"generated\" }\n  secret \"../consul/x\" { type = \"generated\" }\n  secret \"k\" { type = \"generated\" }\n  secret \"k\" { type = \"generated\" }")),
        ("secret_of_a_use", also("  uses \"ldap\" {}\n  secret \"ldap_password\" { type = \"generated\" }")),
        // files
        ("file_settings", also("  file \"../x\" { content = \"a\" }\n  file \"/etc/x\" { content = \"a\" }\n  file \"a b\" { content = \"a\" }\n  file \"c\" {}\n  file \"d\" {\n    content = \"x\"\n    mode    = 640\n  }\n  file \"e\" {\n    content = \"x\"\n    mode    = \"4755\"\n  }\n  file \"f\" { source = \"f.conf\" }")),
        ("file_processes", also("  file \"a\" {\n    content   = \"x\"\n    processes = [\"wbe\", \"web\", \"web\"]\n  }\n  file \"b\" {\n    content   = \"x\"\n    processes = []\n  }\n  file \"b\" { content = \"y\" }")),
        ("file_not_for_this_process", also("  file \"a\" {\n    content   = port.http\n    processes = [\"web\"]\n  }\n  process \"b\" {\n    command = [\"x\", file.a]\n  }")),
        ("file_names_taken", also("  secret \"k\" { type = \"generated\" }\n  file \"./a\" { content = \"x\" }\n  file \"app\" { content = \"x\" }\n  file \"env\" { content = secret.k }\n  file \"b\" { content = \"x\" }\n  file \"b/c\" { content = \"x\" }")),
        ("service_names", also("  process \"a\" {\n    command = [\"x\"]\n    port \"b\" {}\n    port \"c\" {}\n  }\n  process \"a-c\" {\n    command = [\"x\"]\n    port \"http\" {}\n    port \"twenty-bytes-of-port\" {}\n  }\n  process \"twenty-bytes-process\" {\n    command = [\"x\"]\n    port \"a\" {}\n    port \"twenty-bytes-of-port\" {}\n  }").replace("carnet", "twenty-six-bytes-long-name")),
        ("route_header_for_nomad", web("    route \"a.example.org\" {\n      headers = { X-Node = \"$${node.unique.id}\" }\n    }")),
        ("driver_exec_command", bare("    driver = \"exec\"\n    config {\n      command = \"x\"\n      args    = []\n    }")),
        ("process_command_moves", also("  uses \"ldap\" {}\n  uses \"bucket\" {}\n  process \"b\" {\n    command = [\"x\", uses.ldap.url, uses.ldap.base, uses.bucket.endpoint, uses.bucket.bucket]\n  }")),
        // uses
        ("uses_kinds", also("  uses \"postgres\" {}\n  uses \"s3\" \"media\" {}\n  uses \"ldapp\" {}\n  uses {}\n  uses \"bucket\" \"a\" \"b\" {}")),
        ("uses_bucket_settings", also("  uses \"bucket\" \"media\" {\n    max_size    = \"50 MB\"\n    max_objects = 0\n    website     = true\n    quota       = 5\n  }")),
        ("uses_bucket_name", also("  uses \"bucket\" \"a-very-long-purpose-x\" {}\n  uses \"bucket\" \"twenty-bytes-purpose\" {}")),
        ("uses_twice", also("  uses \"ldap\" {}\n  uses \"ldap\" \"other\" {}\n  uses \"bucket\" \"b\" {}\n  uses \"bucket\" \"b\" {}")),
        // static sites
        ("site_without_route", site("")),
        ("site_with_process", site("  route \"a.example.org\" {}\n  process \"web\" {\n    command = [\"x\"]\n  }")),
        ("site_with_parts", site("  route \"a.example.org\" {}\n  route \"a.example.org\" {}\n  env {\n    A = 1\n  }\n  secret \"k\" { type = \"generated\" }\n  file \"f\" { content = \"x\" }\n  uses \"bucket\" {}")),
        ("site_route_settings", site("  route \"a.example.org\" { path = \"/x\" }")),
        // references
        ("reference_unresolved", also("  env {\n    A = secret.nope\n    B = \"x ${uses.ldap.url} y\"\n    C = port.http\n    D = volume.data\n    E = file.\"x\"\n  }").replace("file.\"x\"", "file[\"x.conf\"]")),
        ("reference_misspelt", also("  secret \"session_key\" { type = \"generated\" }\n  uses \"ldap\" {}\n  env {\n    A = secret.sesion_key\n    B = uses.ldap.uri\n    C = secrets.session_key\n    D = process.wbe.host\n    E = process.web.host\n    F = process.web.port\n    G = uses.ldap\n    H = meta.region\n  }")),
        ("reference_of_others", also("  env {\n    A = var.region\n    B = \"${NOMAD_PORT_http}\"\n    C = \"${NOMAD_ALLOC_ID}\"\n    D = \"${attr.kernel.name}\"\n    E = env.HOME\n    F = local.x\n    G = secret\n    H = hello\n  }")),
        ("reference_expressions", also("  env {\n    A = upper(\"x\")\n    B = \"${1 + 1}\"\n    C = \"${true ? 1 : 2}\"\n    D = \"%{ if true }x%{ endif }\"\n    E = \"${~ meta.site ~}\"\n    F = \"${file(\"../x\")}\"\n    G = service.web[0]\n    H = \"${[for x in y : x]}\"\n    I = (1)\n    J = \"a\" == \"b\"\n  }")),
        ("reference_not_in_every_process", web("  }\n  process \"worker\" {\n    command = [\"x\"]\n  }\n  env {\n    PORT = port.http\n  }\n  file \"f\" {\n    content = port.http")),
        ("reference_where_only_text_goes", web("    route \"a.example.org\" { path = \"/${meta.site}\" }\n    check \"http\" { path = meta.path }\n    driver = docker")),
        ("reference_service_name", also("  env {\n    A = service.Web_1\n    B = service.web.port\n  }")),
    ];
    cases
}

/// Accepted, with a word to the author.
pub(super) fn suspicious() -> Vec<(&'static str, String)> {
    vec![
        ("warning_unused", also("  secret \"k\" { type = \"generated\" }\n  uses \"bucket\" {}")),
        ("warning_image_without_version", bare("    driver = \"docker\"\n    config {\n      image = \"nginx\"\n    }")),
        ("warning_static_port_and_instances", web("    instances = 2\n    port \"x\" { static = 25000 }")),
        ("warning_volume_and_instances", web("    instances = 2\n    volume \"data\" { path = \"/data\" }\n  }\n  process \"b\" {\n    command = [\"x\"]\n    volume \"data\" { path = \"/data\" }")),
        ("warning_no_build", "project \"a\" {\n  process \"web\" {\n    command = [\"./x\"]\n    stop_timeout = \"2m\"\n  }\n}\n".to_owned()),
    ]
}
