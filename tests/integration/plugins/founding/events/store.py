EVENTS = [{"title": "opening"}]


def remember(title):
    EVENTS.append({"title": title})
    return EVENTS[-1]
