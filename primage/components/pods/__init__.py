"""What every pod has."""
