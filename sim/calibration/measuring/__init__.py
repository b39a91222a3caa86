"""Takes samples on a real device. Needs torch; the rest of the calibration does not."""
