//! Secrets of the edge and of agents: which files they came from, read again when those change, and left out where nobody needs them.

use std::path::{Path, PathBuf};

use super::Plan;
use super::agent::Agent;
use super::cluster::ClusterKey;
use super::edge::{Auth, Edge, Gost, JwtKey, Pool, SharedKey, TlsMaterial};
use crate::material::{self, Part};

impl Edge {
    /// Every file that a certificate, a key or a password came from, once each.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<&Path> = Vec::new();
        for tls in self.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
            files.extend(tls.certificates.iter().flat_map(of_material));
            files.extend(tls.client_ca.iter().map(|(file, _)| file.as_path()));
        }
        for tls in self.pools.iter().filter_map(|pool| pool.tls.as_ref()) {
            files.extend(tls.cert.iter().flat_map(of_material));
            files.extend(tls.ca.iter().map(|(file, _)| file.as_path()));
        }
        for auth in self.routes.iter().filter_map(|route| route.auth.as_ref()) {
            match auth {
                Auth::Basic { file, .. } => files.extend(file.as_deref()),
                Auth::Jwt(jwt) => files.extend(jwt.keys.iter().filter_map(|key| key.file.as_deref())),
            }
        }
        files
            .extend(self.pools.iter().filter_map(|pool| pool.sticky.as_ref()?.key.as_ref()?.file.as_deref()));
        if let Some(gost) = &self.gost {
            let secrets = gost.users.iter().map(|user| &user.password).chain(&gost.token);
            files.extend(secrets.filter_map(|secret| secret.file.as_deref()));
            files.extend(gost.ca.iter().map(|(file, _)| file.as_path()));
        }
        let mut files: Vec<PathBuf> = files.into_iter().map(Path::to_path_buf).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// Reads those files again; true when something has changed.
    ///
    /// # Errors
    /// A sentence about the first file that can't be used; then nothing has changed, so that what was read before goes
    /// on being used. A certificate that was written before its key is such a case: it passes.
    pub fn reread(&mut self) -> Result<bool, String> {
        let mut fresh = self.clone();
        for tls in fresh.listeners.iter_mut().filter_map(|listener| listener.tls.as_mut()) {
            tls.certificates.iter_mut().try_for_each(reread_material)?;
            tls.client_ca.iter_mut().try_for_each(reread_authorities)?;
        }
        for tls in fresh.pools.iter_mut().filter_map(|pool| pool.tls.as_mut()) {
            tls.cert.iter_mut().try_for_each(reread_material)?;
            tls.ca.iter_mut().try_for_each(reread_authorities)?;
        }
        for auth in fresh.routes.iter_mut().filter_map(|route| route.auth.as_mut()) {
            match auth {
                Auth::Basic { file: Some(file), users, .. } => *users = reread_users(file)?,
                Auth::Basic { file: None, .. } => {}
                Auth::Jwt(jwt) => jwt.keys.iter_mut().try_for_each(reread_key)?,
            }
        }
        fresh.pools.iter_mut().filter_map(shared_key).try_for_each(reread_shared)?;
        if let Some(gost) = &mut fresh.gost {
            gost_secrets(gost).try_for_each(reread_plain)?;
            gost.ca.iter_mut().try_for_each(reread_authorities)?;
        }
        let changed = fresh != *self;
        *self = fresh;
        Ok(changed)
    }

    /// The same edge with keys and hashes blank; certificates stay, they are public.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut edge = self.clone();
        for tls in edge.listeners.iter_mut().filter_map(|listener| listener.tls.as_mut()) {
            tls.certificates.iter_mut().for_each(|material| material.key.clear());
        }
        for material in edge.pools.iter_mut().filter_map(|pool| pool.tls.as_mut()?.cert.as_mut()) {
            material.key.clear();
        }
        edge.pools.iter_mut().filter_map(shared_key).for_each(|key| key.text.clear());
        edge.gost.iter_mut().flat_map(gost_secrets).for_each(|key| key.text.clear());
        for auth in edge.routes.iter_mut().filter_map(|route| route.auth.as_mut()) {
            match auth {
                Auth::Basic { users, .. } => users.iter_mut().for_each(|(_, hash)| hash.clear()),
                Auth::Jwt(jwt) => jwt.keys.iter_mut().for_each(|key| key.key.clear()),
            }
        }
        edge
    }
}

impl Plan {
    /// Files whose change is noticed without a reload, each once.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = self.edge.files();
        files.extend(self.agents.iter().filter_map(|agent| agent.key_file.clone()));
        files.extend(self.agents.iter().filter_map(|agent| Some(agent.ca.as_ref()?.0.clone())));
        files.sort_unstable();
        files.dedup();
        files
    }

    /// Reads those files again; true when something has changed.
    ///
    /// # Errors
    /// As those of [`Edge::reread`].
    pub fn reread(&mut self) -> Result<bool, String> {
        let mut agents = self.agents.clone();
        agents.iter_mut().try_for_each(reread_agent)?;
        let edge = self.edge.reread()?;
        let changed = edge || agents != self.agents;
        self.agents = agents;
        Ok(changed)
    }

    /// The same Plan for roles that serve nobody: the edge's keys and hashes are blank.
    #[must_use]
    pub fn without_edge_secrets(&self) -> Self {
        Self { edge: self.edge.without_secrets(), ..self.clone() }
    }
}

fn of_material(material: &TlsMaterial) -> [&Path; 2] {
    [&material.cert_file, &material.key_file]
}

fn read(file: &Path) -> Result<String, String> {
    material::read(file).map_err(|error| format!("{} can't be read: {error}", file.display()))
}

fn reread_material(material: &mut TlsMaterial) -> Result<(), String> {
    let (cert, key) = (read(&material.cert_file)?, read(&material.key_file)?);
    if (&cert, &key) != (&material.cert, &material.key) {
        material::pair(&cert, &key).map_err(|wrong| {
            let file = match wrong.part {
                Part::Cert => &material.cert_file,
                Part::Key => &material.key_file,
            };
            format!("{} {}", file.display(), wrong.why)
        })?;
        (material.cert, material.key) = (cert, key);
    }
    Ok(())
}

fn reread_agent(agent: &mut Agent) -> Result<(), String> {
    agent.ca.iter_mut().try_for_each(reread_authorities)?;
    let Some(file) = &agent.key_file else { return Ok(()) };
    let text = read(file)?;
    if !material::is_tunnel_secret(text.trim()) {
        return Err(format!("{} is no secret of a tunnel key, which begins with mst1_", file.display()));
    }
    agent.key = ClusterKey::new(text.trim().to_owned());
    Ok(())
}

fn reread_authorities((file, text): &mut (PathBuf, String)) -> Result<(), String> {
    let fresh = read(file)?;
    if fresh != *text {
        material::authorities(&fresh).map_err(|why| format!("{} {why}", file.display()))?;
        *text = fresh;
    }
    Ok(())
}

fn reread_users(file: &Path) -> Result<Vec<(String, String)>, String> {
    material::users(&read(file)?)
        .map_err(|line| format!("line {line} of {} is not user:hash", file.display()))
}

fn shared_key(pool: &mut Pool) -> Option<&mut SharedKey> {
    pool.sticky.as_mut()?.key.as_mut()
}

fn reread_shared(key: &mut SharedKey) -> Result<(), String> {
    let Some(file) = &key.file else { return Ok(()) };
    let fresh = read(file)?.trim_end_matches(['\r', '\n']).to_owned();
    if fresh.len() < material::SHORTEST_SHARED {
        return Err(format!("{}: a key of {} bytes can be guessed", file.display(), fresh.len()));
    }
    key.text = fresh;
    Ok(())
}

/// Passwords of gost's users, and what its plugins know us by.
fn gost_secrets(gost: &mut Gost) -> impl Iterator<Item = &mut SharedKey> {
    gost.users.iter_mut().map(|user| &mut user.password).chain(&mut gost.token)
}

fn reread_plain(key: &mut SharedKey) -> Result<(), String> {
    let Some(file) = &key.file else { return Ok(()) };
    let fresh = read(file)?.trim_end_matches(['\r', '\n']).to_owned();
    if fresh.is_empty() {
        return Err(format!("{}: the password is empty", file.display()));
    }
    key.text = fresh;
    Ok(())
}

fn reread_key(key: &mut JwtKey) -> Result<(), String> {
    let Some(file) = &key.file else { return Ok(()) };
    let fresh = read(file)?.trim_end_matches(['\r', '\n']).to_owned();
    if fresh != key.key && !key.algorithm.starts_with("HS") {
        material::public_key(&fresh, &key.algorithm).map_err(|why| format!("{} {why}", file.display()))?;
    }
    key.key = fresh;
    Ok(())
}
