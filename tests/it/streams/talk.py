# What it does is said by MODE. On SIGTERM it says "bye" and ends.
import hashlib, os, random, signal, sys, time

out = lambda fd, b: os.write(fd, b) == len(b) or sys.exit(9)
said = {"n": 0}


def bye(*_):
    out(1, b"bye %d\n" % said["n"])
    sys.exit(0)


signal.signal(signal.SIGTERM, bye)
mode = os.environ["MODE"]
if mode == "seq":
    pause = float(os.environ.get("PAUSE", "0.05"))
    while True:
        out(1, b"seq %d\n" % said["n"])
        if said["n"] % 10 == 0:
            out(2, b"err %d\n" % (said["n"] // 10))
        said["n"] += 1
        time.sleep(pause)
elif mode == "big":
    size, block, digest = int(os.environ["SIZE"]), random.Random(7).randbytes(1 << 20), hashlib.sha256()
    for n in range(size >> 20):
        part = b"%016d" % n + block[16:]
        digest.update(part)
        while part:
            part = part[os.write(1, part):]
    with open(os.environ["DONE"] + "~", "w") as f:
        f.write(digest.hexdigest())
    os.rename(os.environ["DONE"] + "~", os.environ["DONE"])
elif mode == "words":
    out(1, b"2026-01-01T00:00:02Z second\n")
    out(2, b"2026-01-01T00:00:01Z first\n")
    out(1, b"caf\xe9 \x1b[31mred\x1b[0m \x1b[2J\n")
    out(1, os.environ.get("WORD", "word").encode() + b"\n")
    out(1, b"no end")
    if os.environ.get("CRASH"):
        sys.exit(3)
elif mode == "echo":
    # A connection's whole input, hashed, once its end has come; then the end of ours.
    import socketserver

    class Echo(socketserver.BaseRequestHandler):
        def handle(self):
            digest, size = hashlib.sha256(), 0
            while part := self.request.recv(1 << 16):
                digest.update(part)
                size += len(part)
            self.request.sendall(b"%d %s\n" % (size, digest.hexdigest().encode()))

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address, daemon_threads, request_queue_size = True, True, 128

    Server(("0.0.0.0", int(os.environ["PORT"])), Echo).serve_forever()
elif mode == "deaf":
    # Takes connections, and reads nothing of them.
    import socket

    server, taken = socket.create_server(("0.0.0.0", int(os.environ["PORT"])), backlog=128), []
    while True:
        taken.append(server.accept())
while True:
    time.sleep(3600)
