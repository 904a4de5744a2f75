"""What does a CNN that tells foreshocks from aftershocks look at, and can it be believed?

Every name of __init__.pyi is loaded when it is first used, so `import foreshap` takes no time.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
