"""A mail server for tests."""

import socketserver
import threading
from email import message_from_string, policy


class MailServer(socketserver.ThreadingTCPServer):
    """A mail server that keeps what it gets; ``answers`` are what it says to the next recipients."""

    allow_reuse_address, daemon_threads, block_on_close = True, True, False

    def __init__(self):
        self.mails, self.answers = [], []
        super().__init__(("127.0.0.1", 0), Conversation)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self):
        """For the setting MAIL_URL."""
        return f"smtp://127.0.0.1:{self.port}?from=data@example.org"

    def close(self):
        self.shutdown()
        self.server_close()


class Conversation(socketserver.StreamRequestHandler):
    def handle(self):
        self.say("220 here")
        found = {}
        while line := self.rfile.readline().decode().strip():
            word, _, rest = line.partition(" ")
            if word.upper() == "DATA":
                self.say("354 go on")
                lines = iter(lambda: self.rfile.readline().decode(), ".\r\n")
                found["text"] = message_from_string("".join(lines), policy=policy.default).get_content()
                self.server.mails.append(found)
                self.say("250 taken")
            elif word.upper() == "QUIT":
                self.say("221 bye")
                return
            else:
                answer = "250 fine"
                if word.upper() == "MAIL":
                    found = {"sender": rest}
                elif word.upper() == "RCPT":
                    found["to"] = rest
                    answer = self.server.answers.pop(0) if self.server.answers else answer
                self.say(answer)

    def say(self, line):
        self.wfile.write(f"{line}\r\n".encode())
