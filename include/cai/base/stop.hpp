// Orderly stop on SIGINT, SIGTERM, SIGHUP and SIGXCPU: handlers set a flag, loops look at it at their durable
// points.
#pragma once

namespace cai {

/// First signal: stop_requested() turns true. Second: the process ends at once with code 75
/// (nothing acknowledged is lost; artifacts are published atomically).
void install_stop_handlers();

bool stop_requested();

/// Throws Stopped when a stop was requested. Call only where all that was acknowledged is durable.
void stop_if_requested();

}  // namespace cai
