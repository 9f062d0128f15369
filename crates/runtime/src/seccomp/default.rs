//! The default filter: the calls that `docker run` allows by default.
//!
//! Facts gathered from its profile, ordered for reading: what everybody may call, what comes with a capability, and the few
//! calls of which only some uses are harmless.

use std::collections::BTreeSet;

use super::{Action, Condition, Filter, Operator, Rule};
use crate::capability::Capability;

/// Allowed to everybody. Names that a machine does not have are skipped there.
const ALWAYS: &str = "
_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown
chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark
fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock
fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex
futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu
getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer
getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32
getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat
inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents
io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule
landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr
listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier
memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect
mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep
newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect
poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv
process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat
readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat
renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto
set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid
setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl
shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat
stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time
timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate
truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork
vmsplice wait4 waitid waitpid write writev
";

/// Allowed to everybody, on the machines that have them.
const OF_THE_MACHINE: &str = "arch_prctl modify_ldt";

/// Allowed with a capability.
const WITH_CAPABILITY: &[(&str, &str)] = &[
    ("BPF", "bpf"),
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    ("PERFMON", "perf_event_open"),
    ("SYSLOG", "syslog"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module finit_module init_module"),
    (
        "SYS_NICE",
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    ("SYS_PACCT", "acct"),
    (
        "SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("SYS_RAWIO", "ioperm iopl"),
    (
        "SYS_TIME",
        "clock_settime clock_settime64 settimeofday stime",
    ),
    ("SYS_TTY_CONFIG", "vhangup"),
];

/// Flags of `clone` that make namespaces; without `SYS_ADMIN` they must all be off.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// Address families of `socket` that reach past the container: `AF_ALG` (kernel crypto) and `AF_VSOCK` (the hypervisor).
const REFUSED_FAMILIES: [u64; 2] = [38, 40];

/// Arguments of `personality` that only ask or choose Linux, 32 bits or not.
const PERSONALITIES: [u64; 5] = [0, 8, 0x20000, 0x20008, 0xffff_ffff];

impl Filter {
    /// Docker's default filter for a process with these capabilities.
    #[must_use]
    pub fn default_for(capabilities: &BTreeSet<Capability>) -> Self {
        let has = |name: &str| {
            name.parse()
                .is_ok_and(|capability| capabilities.contains(&capability))
        };
        let mut rules = vec![allow(ALWAYS), allow(OF_THE_MACHINE)];
        rules.extend(
            WITH_CAPABILITY
                .iter()
                .filter(|(name, _)| has(name))
                .map(|(_, calls)| allow(calls)),
        );
        for value in PERSONALITIES {
            rules.push(allow_if(
                "personality",
                condition(Operator::Equal, value, 0),
            ));
        }
        rules.push(Rule {
            names: vec!["socket".to_owned()],
            action: Action::Allow,
            conditions: REFUSED_FAMILIES
                .map(|family| condition(Operator::NotEqual, family, 0))
                .to_vec(),
        });
        if !has("SYS_ADMIN") {
            rules.push(allow_if(
                "clone",
                condition(Operator::MaskedEqual, NAMESPACE_FLAGS, 0),
            ));
            // Its flags are in memory, which a filter cannot see; "no such call" makes libraries use `clone`.
            rules.push(Rule {
                names: vec!["clone3".to_owned()],
                action: Action::Errno(38),
                conditions: Vec::new(),
            });
        }
        Self {
            default: Action::Errno(1),
            rules,
        }
    }
}

fn allow(names: &str) -> Rule {
    let names = names.split_ascii_whitespace().map(str::to_owned).collect();
    Rule {
        names,
        action: Action::Allow,
        conditions: Vec::new(),
    }
}

fn allow_if(name: &str, condition: Condition) -> Rule {
    Rule {
        names: vec![name.to_owned()],
        action: Action::Allow,
        conditions: vec![condition],
    }
}

fn condition(operator: Operator, value: u64, masked: u64) -> Condition {
    Condition {
        index: 0,
        operator,
        value,
        masked,
    }
}
