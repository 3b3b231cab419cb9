"""Read one statement through a session, by COPY or the plain way."""
