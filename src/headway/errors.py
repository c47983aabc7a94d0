"""The exceptions a person is meant to read: what they can mend, said in one line."""


class HeadwayError(Exception):
    """What is wrong, where, what was expected and what to do, in one line.

    The command line prints the message and exits with status 2; a traceback appears with ``--debug`` only.
    """


class Unreachable(HeadwayError):
    """An outside service does not answer, or not as it should; that says nothing about the work itself.

    Whatever was under way is interrupted, neither failed nor refused: it goes on once the service answers again.
    """
