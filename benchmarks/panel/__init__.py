"""The panel: Headway on many real labelled text sets, of several languages, scripts and sizes (``make bench-panel``)."""
