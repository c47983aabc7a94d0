"""The one exception a person is meant to read: a mistake they can mend, said in one line."""


class HeadwayError(Exception):
    """What is wrong, where, what was expected and what to do, in one line.

    The command line prints the message and exits with status 2; a traceback appears with ``--debug`` only.
    """
