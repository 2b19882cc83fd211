//! Cards to choose from, by their data sheets and what `cuDeviceGetAttribute` says on them.

use cudarc::driver::sys::CUdevice_attribute_enum as A;

/// What a card's driver says of it.
#[derive(Debug)]
pub struct Card {
    /// As `PTXSIM_CARD` names it.
    pub key: &'static str,
    pub name: &'static str,
    pub capability: (i32, i32),
    pub multiprocessors: i32,
    pub clock_khz: i32,
    pub memory_khz: i32,
    /// Width of the memory's bus in bits.
    pub bus: i32,
    pub l2: i32,
    /// Shared memory of a multiprocessor, and of a block that asks for as much as there is.
    pub shared: i32,
    pub block_shared: i32,
    pub threads: i32,
    pub blocks: i32,
}

/// Shared memory of a block that asks for nothing special.
pub const PLAIN_SHARED: i32 = 48 << 10;

pub const CARDS: &[Card] = &[
    Card {
        key: "a100",
        name: "NVIDIA A100-SXM4-80GB (ptxsim)",
        capability: (8, 0),
        multiprocessors: 108,
        clock_khz: 1_410_000,
        memory_khz: 1_593_000,
        bus: 5120,
        l2: 40 << 20,
        shared: 164 << 10,
        block_shared: 163 << 10,
        threads: 2048,
        blocks: 32,
    },
    Card {
        key: "h100",
        name: "NVIDIA H100 80GB HBM3 (ptxsim)",
        capability: (9, 0),
        multiprocessors: 132,
        clock_khz: 1_980_000,
        memory_khz: 2_619_000,
        bus: 5120,
        l2: 50 << 20,
        shared: 228 << 10,
        block_shared: 227 << 10,
        threads: 2048,
        blocks: 32,
    },
    Card {
        key: "h200",
        name: "NVIDIA H200 (ptxsim)",
        capability: (9, 0),
        multiprocessors: 132,
        clock_khz: 1_980_000,
        memory_khz: 3_201_000,
        bus: 6144,
        l2: 60 << 20,
        shared: 228 << 10,
        block_shared: 227 << 10,
        threads: 2048,
        blocks: 32,
    },
    Card {
        key: "4090",
        name: "NVIDIA GeForce RTX 4090 (ptxsim)",
        capability: (8, 9),
        multiprocessors: 128,
        clock_khz: 2_520_000,
        memory_khz: 10_501_000,
        bus: 384,
        l2: 72 << 20,
        shared: 100 << 10,
        block_shared: 99 << 10,
        threads: 1536,
        blocks: 24,
    },
];

/// The bus that a device is alone on.
pub fn pci_bus(device: usize) -> i32 {
    device as i32 + 1
}

impl Card {
    /// The value of an attribute by its number; what is not a feature of this driver is 0, as on a card without it.
    /// `None`: no attribute has this number. `device` counts the cards from 0.
    pub fn attribute(&self, number: u32, device: usize) -> Option<i32> {
        let known: &[(A, i32)] = &[
            (A::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024),
            (A::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024),
            (A::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024),
            (A::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64),
            (A::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, i32::MAX),
            (A::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535),
            (A::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535),
            (A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, PLAIN_SHARED),
            (A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, self.block_shared),
            (A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, self.shared),
            (A::CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, 1024),
            (A::CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, 64 << 10),
            (A::CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32),
            (A::CU_DEVICE_ATTRIBUTE_MAX_PITCH, i32::MAX),
            (A::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, 65536),
            (A::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 65536),
            (A::CU_DEVICE_ATTRIBUTE_CLOCK_RATE, self.clock_khz),
            (A::CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT, 512),
            (A::CU_DEVICE_ATTRIBUTE_GPU_OVERLAP, 1),
            (A::CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 3),
            (A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, self.multiprocessors),
            (A::CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1),
            (A::CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1),
            (A::CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1),
            (A::CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED, 1),
            (A::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, pci_bus(device)),
            (A::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, self.memory_khz),
            (A::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, self.bus),
            (A::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, self.l2),
            (A::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, self.threads),
            (A::CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, self.blocks),
            (A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, self.capability.0),
            (A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, self.capability.1),
            (A::CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED, 1),
            (A::CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED, 1),
            (A::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1),
            (A::CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 1),
            (A::CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 1),
            (A::CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, 1),
            (A::CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 1),
            (A::CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, 1),
        ];
        if number == 0 || number >= A::CU_DEVICE_ATTRIBUTE_MAX as u32 {
            return None;
        }
        Some(known.iter().find(|(a, _)| *a as u32 == number).map_or(0, |(_, value)| *value))
    }
}
