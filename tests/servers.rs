//! Real servers out of Debian's packages as one resource group: nginx, redis-server and PostgreSQL, under load, while
//! another group is switched. The table is that of `examples/web.isinittab` in a directory of the test's own.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::{DEADLINE, Daemon, Stage, alive, is_root, look_until, run, signal};
use rustix::process::Signal;

/// How often the other group is switched there and back while the servers are asked.
const SWITCHES: u64 = 30;

struct Servers {
    port: u16,
    postgres: PathBuf,
}

impl Servers {
    fn find() -> Servers {
        for program in ["nginx", "redis-server", "redis-cli"] {
            let find = format!("PATH=$PATH:/usr/sbin; command -v {program}");
            let found = run(Command::new("sh").args(["-c", &find]));
            assert_eq!(found.status, 0, "{program} is missing: `make test` installs what the tests need");
        }
        let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
            .expect("PostgreSQL is missing: `make test` installs what the tests need")
            .map(|version| version.unwrap().path().join("bin"))
            .collect();
        versions.sort();
        // The kernel chooses a free port; it is given back, and nobody else asks for that number so soon.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Servers { port, postgres: versions.pop().expect("a version of PostgreSQL") }
    }

    fn write_files(&self, stage: &Stage) {
        let user = if is_root() { "user root;" } else { "" };
        for (name, location) in [("nginx", "return 200 'here I am\\n';"), ("sorry", "return 503 'later\\n';")]
        {
            let dir = stage.path(name);
            fs::create_dir(&dir).unwrap();
            let path = dir.display();
            let temps: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .iter()
                .map(|kind| format!("{kind}_temp_path {path}/{kind};\n"))
                .collect();
            let listen = format!("listen 127.0.0.1:{};", self.port);
            stage.write(
                &format!("{name}.conf"),
                format!(
                    "{user}\ndaemon off;\npid {path}/pid;\nerror_log {path}/error;\nworker_processes 2;\nevents {{}}\n\
                     http {{\naccess_log off;\n{temps}server {{ {listen} location / {{ {location} }} }}\n}}\n"
                ),
            );
        }
    }

    fn table(&self, stage: &Stage) -> String {
        let (dir, bin, port) = (stage.dir().display(), self.postgres.display(), self.port);
        let (user, own) = if is_root() { (",user=postgres", "-o postgres -g postgres") } else { ("", "") };
        format!(
            ":::env:PGBIN={bin}\n:::env:PGDATA={dir}/pg/data\n:::env:PGHOST={dir}/pg\n\
             :::env:PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
             web:dirs:run,maintenance:wait,fail=group:install -d {own} -m 0700 pg pg/data\n\
             web:initdb:run,maintenance:wait{user},fail=group:test -s $PGDATA/PG_VERSION || exec $PGBIN/initdb -A trust -U postgres >$PGHOST/initdb.log 2>&1\n\
             web:postgres:run,maintenance:respawn{user},ready=socket,ready-timeout=60,stop=INT,stop-timeout=60:\
             exec $PGBIN/postgres -c listen_addresses= -c unix_socket_directories=$PGHOST 2>>$PGHOST/log\n\
             web:redis:run,maintenance:respawn,ready=socket,ready-timeout=60,stop-timeout=30:\
             redis-server --dir {dir} --port 0 --unixsocket {dir}/redis.s --supervised systemd --daemonize no --save 3600 1 --logfile redis.log\n\
             web:nginx:run,:respawn,stop=QUIT,stop-timeout=30,delay=0.2:nginx -c {dir}/nginx.conf -e {dir}/nginx/error\n\
             web:sorry:maintenance,:respawn,stop=QUIT,stop-timeout=30,delay=0.2:nginx -c {dir}/sorry.conf -e {dir}/sorry/error\n\
             web:ask-postgres:run,maintenance:test{user}:test \"$($PGBIN/psql -U postgres -d postgres -Atc 'select 40+2')\" = 42\n\
             web:ask-redis:run,maintenance:test:test \"$(redis-cli -s {dir}/redis.s ping)\" = PONG\n\
             web:ask-nginx:run,maintenance:test:n=0; until perl -MIO::Socket::INET -e \
             'exit !IO::Socket::INET->new(\"127.0.0.1:{port}\")'; do n=$((n + 1)); [ $n -lt 500 ] || exit 1; sleep 0.02; done\n\
             batch:day:day,:respawn:sh svc day\nbatch:night:night,:respawn:sh svc night\nbatch:both:day,night:respawn:sh svc both\n",
        )
    }

    /// One request; the status line, or what went wrong.
    fn http(&self) -> Result<String, std::io::Error> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.lines().next().unwrap_or_default().to_owned())
    }
}

/// A connection to Redis that is kept.
struct Redis(BufReader<UnixStream>);

impl Redis {
    fn open(stage: &Stage) -> std::io::Result<Redis> {
        let stream = UnixStream::connect(stage.path("redis.s"))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Redis(BufReader::new(stream)))
    }

    fn ask(&mut self, command: &str) -> std::io::Result<String> {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

/// Runs one statement; what psql printed.
fn sql(d: &Stage, servers: &Servers, statement: &str) -> Result<String, String> {
    let mut psql = Command::new(servers.postgres.join("psql"));
    psql.args(["-U", "postgres", "-d", "postgres", "-qAtc", statement]).env("PGHOST", d.path("pg"));
    let output = psql.stdin(Stdio::null()).output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// What the load has asked, and what went wrong.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    http: AtomicU64,
    redis: AtomicU64,
    sql: AtomicU64,
}

impl Load {
    fn repeat(&self, count: &AtomicU64, mut ask: impl FnMut() -> Result<(), String>) -> Result<(), String> {
        while !self.over.load(Ordering::Relaxed) {
            ask()?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn each_was_asked(&self, times: u64) -> bool {
        [&self.http, &self.redis, &self.sql].iter().all(|count| count.load(Ordering::Relaxed) >= times)
    }
}

#[test]
fn real_servers_are_one_group_and_not_one_request_fails_while_another_is_switched() {
    let servers = Servers::find();
    let stage = Stage::new();
    servers.write_files(&stage);
    let table = servers.table(&stage);
    let d = stage.start(table);
    let tell = |group: &str, level: &str| {
        let output = d.isinit(&["tell", "--wait", group, level]);
        assert_eq!(
            output.status,
            0,
            "{group} {level}: {output:?}\n{}{}",
            d.text("pg/initdb.log"),
            d.text("pg/log")
        );
    };
    tell("web", "run");
    for tag in ["postgres", "redis"] {
        assert!(d.entry(tag).is("ready"), "{tag} has not said that it is ready: {:?}", d.entry(tag));
    }
    sql(&d, &servers, "create table t (n int)").unwrap();

    let pids = |tags: &[&str]| tags.iter().map(|tag| d.pid_of(tag)).collect::<Vec<u32>>();
    let before = pids(&["nginx", "redis", "postgres"]);
    switch_under_load(&d, &servers);
    assert_eq!(pids(&["nginx", "redis", "postgres"]), before, "a server has another process");
    let rows: u64 = sql(&d, &servers, "select count(*) from t").unwrap().parse().unwrap();
    let counter = Redis::open(&d).unwrap().ask("GET n").unwrap();
    assert!(rows > 0 && counter.starts_with('$'), "{rows} {counter}");

    // The data bases stay, the front changes.
    tell("web", "maintenance");
    assert_eq!(servers.http().unwrap(), "HTTP/1.1 503 Service Temporarily Unavailable");
    assert_eq!(pids(&["redis", "postgres"]), before[1..]);
    tell("web", "run");
    assert_eq!(servers.http().unwrap(), "HTTP/1.1 200 OK");
    assert_eq!(pids(&["redis", "postgres"]), before[1..]);

    crash_and_return(&d);
    stop_and_return(&d, &servers, rows);
}

/// Many clients of all three, from before the first switch until after the last.
fn switch_under_load(d: &Daemon, servers: &Servers) {
    let load = Load::default();
    let mut redis = Redis::open(d).unwrap();
    let results = thread::scope(|scope| {
        let clients = [
            scope.spawn(|| {
                load.repeat(&load.http, || match servers.http() {
                    Ok(line) if line == "HTTP/1.1 200 OK" => Ok(()),
                    other => Err(format!("nginx: {other:?}")),
                })
            }),
            scope.spawn(|| {
                load.repeat(&load.redis, || match redis.ask("INCR n") {
                    Ok(line) if line.starts_with(':') => Ok(()),
                    other => Err(format!("redis: {other:?}")),
                })
            }),
            scope.spawn(|| load.repeat(&load.sql, || sql(d, servers, "insert into t values (1)").map(drop))),
        ];
        for _ in 0..SWITCHES {
            assert_eq!(d.tell("batch", "day"), "ok run");
            assert_eq!(d.tell("batch", "night"), "ok run");
        }
        let asked = look_until(|| load.each_was_asked(SWITCHES).then_some(()));
        load.over.store(true, Ordering::Relaxed);
        assert!(
            asked.is_some() || clients.iter().any(|client| client.is_finished()),
            "the load does not come on"
        );
        clients.map(|client| client.join().unwrap())
    });
    assert_eq!(results, [Ok(()), Ok(()), Ok(())]);
    assert!(d.count_events("start day") + d.count_events("start night") > 0);
}

/// A server that is killed is there again, and ready before it counts as up.
fn crash_and_return(d: &Daemon) {
    let pid = d.pid_of("redis");
    signal(pid, Signal::KILL);
    d.until("redis is there again", |d| {
        let redis = d.entry("redis");
        redis.pid != pid && redis.is("ready") && redis.state == "up"
    });
    assert_eq!(Redis::open(d).unwrap().ask("PING").unwrap(), "+PONG");
}

/// Stopped, everything is gone, closed properly; started again, nothing is lost.
fn stop_and_return(d: &Daemon, servers: &Servers, rows: u64) {
    Redis::open(d).unwrap().ask("SET kept 42").unwrap();
    assert_eq!(d.isinit(&["tell", "--wait", "web", "0"]).status, 0);
    assert!(alive(d.pid_of("night")), "the other group has felt it");
    assert_eq!(d.descendants_of("web"), [], "something of the servers is left");
    let mut control = Command::new(servers.postgres.join("pg_controldata"));
    let control = run(control.arg(d.path("pg/data")).env("LC_ALL", "C"));
    let state =
        control.stdout.lines().find(|line| line.starts_with("Database cluster state")).unwrap().to_owned();
    assert!(state.ends_with(" shut down"), "{state}");

    assert_eq!(d.isinit(&["tell", "--wait", "web", "run"]).status, 0);
    assert_eq!(sql(d, servers, "select count(*) from t"), Ok(rows.to_string()));
    let mut redis = Redis::open(d).unwrap();
    assert_eq!(redis.ask("GET kept").unwrap(), "$2");
    assert_eq!(servers.http().unwrap(), "HTTP/1.1 200 OK");
    assert_eq!(d.stop(), 0);
    assert_eq!(d.descendants(), []);
}
