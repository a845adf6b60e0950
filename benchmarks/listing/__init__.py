"""What the list benchmark serves beside the product: the same rows by a plain Django REST framework view."""
