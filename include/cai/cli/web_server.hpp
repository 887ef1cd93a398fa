// A small web server for one person on this machine: loopback only, one token, no dependency.
#pragma once

#include <functional>
#include <string>

namespace cai {

struct WebRequest {
  std::string method, path, body;  // path without its query
};

struct WebReply {
  int status = 200;
  std::string type = "application/json", body;
};

/// Listens on 127.0.0.1. Every request must name this address in its Host header (so that no foreign name can
/// be pointed here), come from no other origin, and carry the token: in the query (?token=) for the first
/// page, else in the X-Token header, which no other site can send. What fails this is refused before `handle`
/// sees it. Requests over 64 KB or slower than ten seconds are dropped; connections wait for each other's
/// handlers, not for each other's bytes.
class WebServer {
 public:
  /// `port` 0: any free one. Throws EnvironmentError when it cannot listen.
  explicit WebServer(int port);
  ~WebServer();
  WebServer(const WebServer&) = delete;
  WebServer& operator=(const WebServer&) = delete;

  std::string url() const;  ///< with the token

  /// Serves until `until` says so (asked at least five times a second).
  void serve(const std::function<WebReply(const WebRequest&)>& handle, const std::function<bool()>& until);

 private:
  int fd_ = -1, port_ = 0;
  std::string token_;

  WebReply answer(const std::string& request, const std::function<WebReply(const WebRequest&)>& handle) const;
};

}  // namespace cai
