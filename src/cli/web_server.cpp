#include "cai/cli/web_server.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <map>
#include <vector>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kLongest = 64 * 1024, kMostConnections = 64;

struct Connection {
  int fd;
  std::string in, out;
  Clock::time_point deadline;
  bool is_answered = false;  // all is sent; what still comes in is read and dropped, for a close with unread
                             // bytes would take the answer back
};

std::string random_token() {
  unsigned char bytes[16];
  if (::getrandom(bytes, sizeof bytes, 0) != static_cast<ssize_t>(sizeof bytes))
    throw EnvironmentError("no random bytes for a token");
  std::string token;
  for (const unsigned char b : bytes)
    token += "0123456789abcdef"[b >> 4], token += "0123456789abcdef"[b & 15];
  return token;
}

// Compares without telling by its time where two texts part.
bool same(const std::string& a, const std::string& b) {
  unsigned char difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned char>(a[i] ^ b[i % std::max<std::size_t>(1, b.size())]);
  return difference == 0;
}

// Header names in lower case; a repeated name keeps "\n" between its values, which no check accepts.
std::map<std::string, std::string> headers_of(const std::string& head) {
  std::map<std::string, std::string> headers;
  for (std::size_t from = head.find("\r\n"); from != head.npos;) {
    const std::size_t to = head.find("\r\n", from + 2), colon = head.find(':', from + 2);
    const std::size_t end = to == head.npos ? head.size() : to;
    if (colon != head.npos && colon < end) {
      std::string& value = headers[lower_ascii(head.substr(from + 2, colon - from - 2))];
      value += (value.empty() ? "" : "\n") + trim(head.substr(colon + 1, end - colon - 1));
    }
    from = to;
  }
  return headers;
}

// Bytes of the body that the head announces; -1: not a number that we take.
long body_length(const std::string& head) {
  const auto headers = headers_of(head);
  if (headers.count("transfer-encoding")) return -1;
  const auto found = headers.find("content-length");
  if (found == headers.end()) return 0;
  long n = -1;
  const auto [end, error] =
      std::from_chars(found->second.data(), found->second.data() + found->second.size(), n);
  return error == std::errc() && end == found->second.data() + found->second.size() && n >= 0 &&
                 n <= static_cast<long>(kLongest)
             ? n
             : -1;
}

std::string bytes_of(const WebReply& reply) {
  const char* reason = reply.status == 200   ? "OK"
                       : reply.status == 400 ? "Bad Request"
                       : reply.status == 403 ? "Forbidden"
                       : reply.status == 404 ? "Not Found"
                                             : "Error";
  return "HTTP/1.1 " + std::to_string(reply.status) + " " + reason + "\r\nContent-Type: " + reply.type +
         "; charset=utf-8\r\nContent-Length: " + std::to_string(reply.body.size()) +
         "\r\nConnection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: "
         "nosniff\r\nX-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: "
         "same-origin\r\n"
         "Content-Security-Policy: default-src 'none'; script-src 'unsafe-inline'; style-src "
         "'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
         "frame-ancestors 'none'\r\n\r\n" +
         reply.body;
}

}  // namespace

WebServer::WebServer(int port) : token_(random_token()) {
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int yes = 1;
  if (fd_ >= 0) ::setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address = {};
  address.sin_family = AF_INET, address.sin_port = htons(static_cast<std::uint16_t>(port)),
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (fd_ < 0 || ::bind(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(fd_, 16) != 0 ||
      ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    const std::string why = std::strerror(errno);
    if (fd_ >= 0) ::close(fd_);
    throw EnvironmentError("cannot listen on 127.0.0.1:" + std::to_string(port) + ": " + why);
  }
  port_ = ntohs(address.sin_port);
}

WebServer::~WebServer() {
  ::close(fd_);
}

std::string WebServer::url() const {
  return "http://127.0.0.1:" + std::to_string(port_) + "/?token=" + token_;
}

WebReply WebServer::answer(const std::string& request,
                           const std::function<WebReply(const WebRequest&)>& handle) const {
  const std::size_t end = request.find("\r\n\r\n"), line = request.find("\r\n");
  const std::string head = request.substr(0, end);
  const std::vector<std::string> words = split(head.substr(0, line), ' ');
  if (words.size() != 3 || !words[2].starts_with("HTTP/1.") || !words[1].starts_with("/"))
    return {400, "text/plain", "not a request\n"};
  const auto headers = headers_of(head);
  const auto header = [&](const char* name) {
    return headers.count(name) ? headers.at(name) : std::string();
  };
  const std::string here = "127.0.0.1:" + std::to_string(port_), named = "localhost:" + std::to_string(port_);
  if (header("host") != here && header("host") != named)
    return {403, "text/plain", "this address is not served\n"};
  if (const std::string origin = header("origin");
      !origin.empty() && origin != "http://" + here && origin != "http://" + named)
    return {403, "text/plain", "another site may not ask\n"};
  const std::size_t query = words[1].find('?');
  const std::string path = words[1].substr(0, query),
                    asked = query == words[1].npos ? "" : words[1].substr(query + 1);
  const std::string token = words[0] == "GET" && path == "/"
                                ? (asked.starts_with("token=") ? asked.substr(6) : "")
                                : header("x-token");
  if (!same(token, token_))
    return {403, "text/plain",
            "the token is missing or wrong: open the whole address that cai review printed\n"};
  if (words[0] != "GET" && words[0] != "POST") return {400, "text/plain", "only GET and POST\n"};
  try {
    return handle({words[0], path, request.substr(end + 4)});
  } catch (const InputError& error) {
    return {400, "text/plain", std::string(error.what()) + "\n"};
  } catch (const EnvironmentError& error) {
    return {500, "text/plain", std::string(error.what()) + "\n"};
  }
}

void WebServer::serve(const std::function<WebReply(const WebRequest&)>& handle,
                      const std::function<bool()>& until) {
  std::vector<Connection> open;
  const auto closed = [&](Connection& c) { ::close(c.fd), c.fd = -1; };
  while (!until()) {
    std::vector<pollfd> watched = {{fd_, POLLIN, 0}};
    for (const Connection& c : open)
      watched.push_back({c.fd, static_cast<short>(c.out.empty() ? POLLIN : POLLOUT), 0});
    if (::poll(watched.data(), watched.size(), 200) < 0 && errno != EINTR)
      throw EnvironmentError(std::string("poll: ") + std::strerror(errno));
    const Clock::time_point now = Clock::now();
    for (std::size_t i = 0; i < open.size(); ++i) {
      Connection& c = open[i];
      const short events = watched[i + 1].revents;
      if (events & (POLLERR | POLLNVAL))
        closed(c);
      else if (events & POLLOUT) {
        const ssize_t n = ::send(c.fd, c.out.data(), c.out.size(), MSG_NOSIGNAL);
        if (n > 0) c.out.erase(0, static_cast<std::size_t>(n));
        if (n < 0 && errno != EAGAIN && errno != EINTR)
          closed(c);
        else if (c.out.empty())
          ::shutdown(c.fd, SHUT_WR), c.is_answered = true,
                                     c.deadline = std::min(c.deadline, now + std::chrono::seconds(1));
      } else if (events & (POLLIN | POLLHUP)) {
        char bytes[8192];
        const ssize_t n = ::recv(c.fd, bytes, sizeof bytes, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
          closed(c);
          continue;
        }
        if (c.is_answered) continue;
        if (n > 0) c.in.append(bytes, static_cast<std::size_t>(n));
        const std::size_t end = c.in.find("\r\n\r\n");
        const long body = end == c.in.npos ? 0 : body_length(c.in.substr(0, end));
        if (body < 0 || c.in.size() > kLongest)
          c.out = bytes_of({400, "text/plain", "too long, or of unknown length\n"});
        else if (end != c.in.npos && c.in.size() >= end + 4 + static_cast<std::size_t>(body))
          c.out = bytes_of(answer(c.in.substr(0, end + 4 + static_cast<std::size_t>(body)), handle));
      }
      if (c.fd >= 0 && now > c.deadline) closed(c);
    }
    std::erase_if(open, [](const Connection& c) { return c.fd < 0; });
    if (watched[0].revents & POLLIN) {
      const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd >= 0 && open.size() >= kMostConnections)
        ::close(fd);
      else if (fd >= 0)
        open.push_back({fd, "", "", now + std::chrono::seconds(10)});
    }
  }
  for (Connection& c : open)
    closed(c);
}

}  // namespace cai
