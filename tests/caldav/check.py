"""Does what a person's calendar program does, through the library `caldav`.

usage: check.py URL USER write UID     logs in, writes an event, reads it back
       check.py URL USER read UID      logs in, reads that event

URL is the server's, such as http://radicale.example.org.localhost:8080/. The password is the first line of standard
input. Exits 0 when the event is there as it was written, 1 when something was refused or differs, 2 on wrong usage.
"""

import datetime
import socket
import sys

CALENDAR = "terreau"
START = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)


def local_names_are_local():
    """Names under `localhost` are this machine (RFC 6761); many a system's resolver does not know it."""
    ask = socket.getaddrinfo

    def answer(host, *args, **kwargs):
        name = host.decode() if isinstance(host, bytes) else host
        if name and name.rstrip(".").endswith(".localhost"):
            host = "127.0.0.1"
        return ask(host, *args, **kwargs)

    socket.getaddrinfo = answer


local_names_are_local()

import caldav  # noqa: E402  after the resolver, which its HTTP library keeps hold of
from caldav.lib.error import DAVError, NotFoundError  # noqa: E402


def summary(uid):
    return f"Sow the {uid}, café at noon"


def find_calendar(principal):
    for calendar in principal.calendars():
        if calendar.get_display_name() == CALENDAR:
            return calendar
    return None


def write(principal, uid):
    calendar = find_calendar(principal) or principal.make_calendar(name=CALENDAR)
    end = START + datetime.timedelta(hours=1)
    calendar.save_event(uid=uid, dtstart=START, dtend=end, summary=summary(uid))


def read(principal, uid):
    calendar = find_calendar(principal)
    if calendar is None:
        raise LookupError(f"there is no calendar {CALENDAR}")
    event = calendar.event_by_uid(uid).icalendar_component
    found = (str(event["summary"]), event["dtstart"].dt)
    if found != (summary(uid), START):
        raise LookupError(f"the event {uid} differs: {found}")


def main(args):
    if len(args) != 4 or args[2] not in ("write", "read"):
        print(__doc__, file=sys.stderr)
        return 2
    url, user, verb, uid = args
    password = sys.stdin.readline().rstrip("\n")
    try:
        with caldav.DAVClient(url=url, username=user, password=password, timeout=20) as client:
            principal = client.principal()
            if verb == "write":
                write(principal, uid)
            read(principal, uid)
    except NotFoundError as e:
        print(f"{verb} {uid}: not there: {e}", file=sys.stderr)
        return 1
    except (DAVError, LookupError, OSError) as e:
        print(f"{verb} {uid}: {type(e).__name__}: {e}", file=sys.stderr)
        return 1
    print(f"{verb} {uid}: the event is there")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
