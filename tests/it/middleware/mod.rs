//! The middleware around handlers of one's own: real HTTP, and for what only a process can show the example program.

mod answers;
mod around;
mod finality;
mod leases;
mod meaning;
mod own_work;
mod replays;
