"""What teachers, starts and trained students are like: figures come from views, numbers from here."""
