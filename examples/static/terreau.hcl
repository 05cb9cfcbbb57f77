# A website of plain files: no process, no job. Garage serves the pages from a bucket that bears the site's name.
project "jardin" {
  build "static" {
    dir   = "public"
    error = "404.html"
  }

  route "jardin.example.org" {}
}
