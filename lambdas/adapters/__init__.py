"""One adapter per AWS service. The client is handed in; nothing is decided here."""
