//! Who may come in and how often: sources, credentials, rates.
