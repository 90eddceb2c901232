"""What a canvas of a page in a browser shows."""

COLOURS = """
canvas => {
  const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return new Set(pixels).size;
}
"""
"""How many colours a canvas shows: one that is blank has one."""
