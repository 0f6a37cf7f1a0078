"""Field types of requests and rows: email, phone, identity, tag, text."""
