//! One task's way out.
