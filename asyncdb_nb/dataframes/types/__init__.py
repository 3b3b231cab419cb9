"""What a type is: to PostgreSQL, to SQLAlchemy, to Python, to Arrow and to pandas."""
