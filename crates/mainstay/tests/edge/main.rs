//! What an operator may count on of the edge: each promise as a test in network namespaces with the real program.

mod bed;
mod checked;
mod files;
mod listeners;
mod pools;
mod processes;
mod upgrade;
