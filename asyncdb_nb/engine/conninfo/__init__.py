"""From a URL, a service or a `.env` file to the parameters of a connection."""
