//! SSH beyond the common contract: host keys, logins, hosts that are none, install commands.

mod ciphers;
mod disks;
mod dropbear;
mod group_remains;
mod groups;
mod host_keys;
mod install_faults;
mod install_hosts;
mod install_output;
mod installs;
mod logins;
mod long_lines;
mod orphans;
mod sessions;
mod stalls;
mod unheard;
