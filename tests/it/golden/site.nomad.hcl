# artifact: zeros stand for the app's capability and for the archive's SHA-256, known after a build
