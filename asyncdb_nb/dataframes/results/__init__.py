"""Results that are here already: rows, entities, records, objects."""
