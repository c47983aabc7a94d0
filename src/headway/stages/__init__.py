"""The stages: each a function of typed params and a layout that reads files and leaves files. No flow, no registry."""
