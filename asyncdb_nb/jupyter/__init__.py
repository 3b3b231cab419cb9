"""What notebooks need around the engine: Stop, tidy cells, short errors, clean ends, magics."""
