//! A node that is the plugins itself: `[gost] plugin`.

use anyhow::ensure;
use mainstay_lab::peer::{Keeper as _, Mainstay};
use rustix::process::{Signal, kill_process};

use crate::bed::{
    Bed, DONE, LABEL, LIMIT, ONE, TUNNEL, TWO, binary, get, get_rule, listed, register, renew, rule, set_rule,
};

fn config(plugins: &str, token: &str) -> String {
    format!(
        "[node]\nid = \"n1\"\nscript_user = \"root\"\n\n[edge]\ninstances = 1\nthreads = 1\n\n[hub]\nbind = \"127.0.0.1:7001\"\n\
         key = \"0123456789abcdef\"\ndomain = \"gost.local\"\n\n[registry]\nredis = [\"redis://127.0.0.1/3\"]\n\n\
         [gost]\nadvertise = \"10.0.4.20:80\"\n{token}plugin = {{ {plugins} }}\n"
    )
}

#[test]
fn a_node_is_the_plugins_itself_across_a_crash_an_upgrade_and_reloads() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let redis = bed.redis()?;
        let both = "sd = \":8000\", ingress = \":8001\"";
        let node = Mainstay::start(&bed.host, &binary(), &config(both, ""))?;
        bed.listens(node.daemon(), 8000)?;
        ensure!(bed.calls(8000, "", &[register(ONE)])?[0].is(DONE));
        ensure!(bed.calls(8001, "", &[set_rule(LABEL, TUNNEL)])?[0].is(DONE));
        ensure!(redis.ctl(&["-n", "3", "GET", LABEL])?.trim() == TUNNEL);
        let serves = |token: &str| {
            mainstay_lab::wait_until("both answer from the redis", LIMIT, || {
                let said = bed.calls(8000, token, &[renew(ONE), get()])?;
                let host = bed.calls(8001, token, &[get_rule("b7de88a94729b931.gost.local")])?;
                Ok(said[0].is(DONE) && said[1].is(&listed(&[ONE])) && host[0].is(&rule(TUNNEL)))
            })
        };
        serves("")?;
        kill_process(node.worker("api")?, Signal::KILL)?;
        serves("")?;
        node.say(&["upgrade"])?;
        serves("")?;
        std::fs::write(node.config_path(), config(both, "token = \"secret\"\n"))?;
        node.reload()?;
        serves("secret")?;
        ensure!(bed.calls(8000, "", &[get()])?[0].code == "UNAUTHENTICATED");
        std::fs::write(node.config_path(), config("sd = \":8000\"", ""))?;
        node.reload()?;
        mainstay_lab::wait_until("nobody listens for ingress", LIMIT, || {
            Ok(bed.host.output("ss", &["-Hltn", "sport = :8001"])?.trim().is_empty())
        })?;
        ensure!(bed.calls(8000, "", &[register(TWO)])?[0].is(DONE));
        Ok(())
    });
}
