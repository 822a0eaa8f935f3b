//! How the gateway behaves towards a real client and a real upstream.

#[cfg(test)]
mod asking;
#[cfg(test)]
mod bedrock;
#[cfg(test)]
mod codings;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod grammar;
#[cfg(test)]
mod hello;
#[cfg(test)]
mod hook;
#[cfg(test)]
mod http1;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod injection;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod mcp;
#[cfg(test)]
mod names;
#[cfg(test)]
mod patience;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod scanning;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tls;
