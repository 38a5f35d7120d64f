# What the network's probes share. They run inside the sandbox, and for the controls outside of it, with nothing but
# python's own modules. Each says one line: what it tried, a colon, and how it ended.
import array, hashlib, json, os, select, socket, ssl, struct, subprocess, sys, threading, time


def ending(error):
    if isinstance(error, socket.gaierror):
        return "unknown name"
    if isinstance(error, ssl.SSLEOFError):
        return "closed"
    if isinstance(error, ssl.SSLError):
        return "tls " + str(error.reason or error)
    for kind, word in [(ConnectionRefusedError, "refused"), (ConnectionResetError, "closed"), (BrokenPipeError, "closed"),
                       (ConnectionAbortedError, "closed"), (PermissionError, "not permitted"), (TimeoutError, "silence")]:
        if isinstance(error, kind):
            return word
    return error.strerror or str(error)


def tries(what, how, *arguments, **options):
    try:
        result = how(*arguments, **options)
    except OSError as error:
        result = ending(error)
    with PRINTING:
        print(f"{what}: {result}", flush=True)


# coco waits for whoever is slow before it denies; the servers of the controls wait for ever.
INSIDE = os.path.exists("/run/coco/coco-init")
PATIENCE = 15 if INSIDE else 2
PRINTING, PLACES, STARTED = threading.Lock(), threading.Semaphore(16), []


def also(what, how, *arguments, **options):
    """The same beside others: most of what is denied, or has nobody to answer it, is waited for."""
    def one():
        with PLACES:
            tries(what, how, *arguments, **options)
    STARTED.append(threading.Thread(target=one))
    STARTED[-1].start()


def settle():
    while STARTED:
        STARTED.pop().join()


def dial(host, port, timeout=10):
    return socket.create_connection((host, port), timeout)


def connects(host, port):
    dial(host, port).close()
    return "connected"


def read_all(stream, limit=1 << 20):
    data = b""
    while len(data) < limit:
        block = stream.recv(65536)
        if not block:
            break
        data += block
    return data


# --- TLS ---

def context():
    made = ssl.create_default_context()
    if os.environ.get("PROBE_CA"):
        made.load_verify_locations(cadata=os.environ["PROBE_CA"])
    return made


def https(host, name=None, port=443, path="/", header=None, address=None):
    """A whole request by TLS: the body of the answer."""
    with dial(address or host, port) as bare, context().wrap_socket(bare, server_hostname=name or host) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {header or host}\r\n\r\n".encode())
        return answer_of(stream)


def unnamed(host, port=443):
    """A handshake without any server name."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    with dial(host, port) as bare, made.wrap_socket(bare) as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n")
        return answer_of(stream)


class Client:
    """TLS without a socket, so that a probe can do what it likes with what is said."""

    def __init__(self, name, tune=lambda made: None):
        made = context()
        tune(made)
        self.input, self.output = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = made.wrap_bio(self.input, self.output, server_hostname=name)

    def says(self):
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.output.read()


def hello(name):
    return Client(name).says()


def finish(stream, client, host):
    """Completes a handshake whose first message was sent, and asks for something."""
    while True:
        try:
            client.tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            stream.sendall(client.output.read())
            data = stream.recv(65536)
            if not data:
                return "closed"
            client.input.write(data)
    client.tls.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    stream.sendall(client.output.read())
    while True:
        try:
            return client.tls.read(65536).decode().split("\r\n\r\n", 1)[1].strip()
        except ssl.SSLWantReadError:
            data = stream.recv(65536)
            if not data:
                return "closed"
            client.input.write(data)


def records(hello, sizes, version=b"\x03\x01"):
    """The handshake message of one or more records, cut into records of other sizes."""
    message, rest = b"", hello
    while rest:
        length = int.from_bytes(rest[3:5], "big")
        message, rest = message + rest[5:5 + length], rest[5 + length:]
    return cut(message, sizes, version)


def cut(message, sizes, version):
    made, index = b"", 0
    while message:
        size = sizes[min(index, len(sizes) - 1)]
        piece, message, index = message[:size], message[size:], index + 1
        made += b"\x16" + version + struct.pack(">H", len(piece)) + piece
    return made


def extension(kind, data):
    return struct.pack(">HH", kind, len(data)) + data


def server_name(*names, kind=0):
    entries = b"".join(bytes([kind]) + struct.pack(">H", len(name)) + name for name in names)
    return extension(0, struct.pack(">H", len(entries)) + entries)


def made_hello(*extensions, session=b"", record=b"\x03\x01", version=b"\x03\x03", ciphers=b"\x13\x01\x13\x02\xc0\x2b\xc0\x2f"):
    """A hello by hand; a server that speaks TLS 1.2 answers it."""
    usual = (extension(10, b"\x00\x04\x00\x1d\x00\x17") + extension(11, b"\x01\x00")
             + extension(13, b"\x00\x0a\x04\x03\x08\x04\x04\x01\x05\x03\x08\x05"))
    listed = b"".join(extensions) + usual
    body = version + b"R" * 32 + bytes([len(session)]) + session + struct.pack(">H", len(ciphers)) + ciphers + b"\x01\x00"
    body += struct.pack(">H", len(listed)) + listed
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return cut(message, [16384], record)


def reaction(host, *pieces, port=443, pause=0.0, patience=5, shut=False):
    """Sends bytes and says what came back first: a server's hello, an alert, the end, or nothing."""
    with dial(host, port, patience) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            stream.sendall(piece)
            if pause:
                time.sleep(pause)
        if shut:
            stream.shutdown(socket.SHUT_WR)
        data = stream.recv(7)
        if data[:1] == b"\x16":
            return "hello"
        if data[:1] == b"\x15":
            return "fatal alert" if data[5:6] == b"\x02" else "alert"
        return "closed" if not data else repr(data)


# --- HTTP ---

def answer_of(stream):
    data = b""
    while b"\r\n\r\n" not in data:
        block = stream.recv(65536)
        if not block:
            return "closed" if not data else repr(data)
        data += block
    head, body = data.split(b"\r\n\r\n", 1)
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), None)
    while length is None or len(body) < length:
        block = stream.recv(65536)
        if not block:
            break
        body += block
    status = head.split(b" ", 2)[1].decode()
    return (status if status != "200" else "") + body.decode().strip()


def http(host, *heads, port=80, patience=10):
    """Sends one request after the other on one connection, and says how each was answered."""
    said = []
    with dial(host, port, patience) as stream:
        for head in heads:
            try:
                stream.sendall(head if isinstance(head, bytes) else head.encode())
                said.append(answer_of(stream))
            except OSError as error:
                said.append(ending(error))
    return " | ".join(said)


def get(host, path="/", more=""):
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"


# --- names ---

KINDS = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "NULL": 10, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "NAPTR": 35,
         "DS": 43, "RRSIG": 46, "DNSKEY": 48, "SVCB": 64, "HTTPS": 65, "IXFR": 251, "AXFR": 252, "ANY": 255, "CAA": 257, "ODD": 65280}


def encoded(name):
    labels = name.split(".") if isinstance(name, str) else name
    labels = [label.encode() if isinstance(label, str) else label for label in labels if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def query(name, kind, klass=1, flags=0x0100):
    return struct.pack(">6H", 0x1234, flags, 1, 0, 0, 0) + encoded(name) + struct.pack(">2H", kind, klass)


def asks(packet, tcp=False, server="127.0.0.1", patience=5):
    """What the name server says to a packet: the code, and the records of its answer."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as stream:
        stream.settimeout(patience)
        stream.connect((server, 53))
        if tcp:
            stream.sendall(struct.pack(">H", len(packet)) + packet)
            head = stream.recv(2, socket.MSG_WAITALL)
            if len(head) < 2:
                return "closed"
            answer = stream.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
        else:
            stream.send(packet)
            answer = stream.recv(65535)
    identity, flags, questions, answers, authority, additional = struct.unpack(">6H", answer[:12])
    if identity != int.from_bytes(packet[:2], "big") or not flags & 0x8000:
        return "no answer to this: " + answer.hex()
    words = {0: "ok", 1: "malformed", 2: "failure", 3: "unknown", 4: "not implemented", 5: "refused"}
    return f"{words.get(flags & 15, flags & 15)} {answers}" + ("" if authority == 0 else f" authority {authority}")


def addresses(host, family=0, flags=0):
    return sorted({entry[4][0] for entry in socket.getaddrinfo(host, 443, family, socket.SOCK_STREAM, 0, flags)})


def synthetic(host):
    found = addresses(host, socket.AF_INET)
    octets = [int(part) for part in found[0].split(".")]
    return "synthetic" if len(found) == 1 and octets[0] == 127 and 64 <= octets[1] < 128 else str(found)
