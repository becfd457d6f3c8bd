"""What users do, one file per verb."""
