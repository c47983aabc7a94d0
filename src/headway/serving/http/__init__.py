"""The HTTP service: a FastAPI application around the model that answers now, and the server processes that run it.

Only this package imports the web framework, the server and the metrics library. Nothing is imported here, so that the command
line can read the settings without them.
"""
