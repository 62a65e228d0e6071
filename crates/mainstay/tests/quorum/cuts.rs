//! The address never has two holders, whatever is cut, frozen or killed.
